"""The fields of a JobSet that we use, from its v1alpha2 API and Kubernetes' batch/v1 and core/v1.

Not the whole schema: a field that is not listed here counts as wrong, so that a misspelt one is
seen. A name that ends in "!" is required; a list holds the form of its elements; a dict with the
one key "*" has any keys.
"""

from typing import Any

_CONTAINER = {
    "name!": str,
    "image!": str,
    "workingDir": str,
    "command": [str],
    "env": [{"name!": str, "value": str}],
    "resources": {"limits": {"*": int}},
    "volumeMounts": [{"name!": str, "mountPath!": str}],
}
_POD = {
    "restartPolicy!": str,
    "terminationGracePeriodSeconds": int,
    "nodeSelector": {"*": str},
    "containers!": [_CONTAINER],
    "volumes": [
        {
            "name!": str,
            "persistentVolumeClaim": {"claimName!": str},
            "emptyDir": {"medium": str},
        }
    ],
}
_ON_EXIT = {"containerName": str, "operator!": str, "values!": [int]}
_JOB = {
    "parallelism": int,
    "completions": int,
    "completionMode": str,
    "backoffLimit": int,
    "podFailurePolicy": {"rules!": [{"action!": str, "onExitCodes": _ON_EXIT}]},
    "template!": {"spec!": _POD},
}
_FORM = {
    "apiVersion!": str,
    "kind!": str,
    "metadata!": {"name!": str},
    "spec!": {
        "network": {"enableDNSHostnames": bool},
        "failurePolicy": {
            "maxRestarts": int,
            "rules": [{"action!": str, "onJobFailureReasons": [str]}],
        },
        "replicatedJobs!": [{"name!": str, "replicas": int, "template!": {"spec!": _JOB}}],
    },
}
_VALUES = {
    "apiVersion": ("jobset.x-k8s.io/v1alpha2",),
    "kind": ("JobSet",),
    "completionMode": ("Indexed", "NonIndexed"),
    "restartPolicy": ("Never", "OnFailure"),
    "action": ("FailJobSet", "RestartJobSet", "FailJob", "Ignore", "Count"),
    "operator": ("In", "NotIn"),
}


def jobset_errors(manifest: Any) -> list[str]:
    """Returns what is wrong with a manifest, such as "spec.replicatedJobs is missing"."""
    return _errors(manifest, _FORM, "")


def _errors(value: Any, form: Any, path: str) -> list[str]:
    if isinstance(form, list):
        if not isinstance(value, list):
            return [f"{path} is no list"]
        return [e for i, x in enumerate(value) for e in _errors(x, form[0], f"{path}[{i}]")]
    if isinstance(form, type):
        wrong = type(value) is not form
        return [f"{path} is no {form.__name__}"] if wrong else _value_errors(value, path)
    if not isinstance(value, dict):
        return [f"{path} is no mapping"]
    dot = f"{path}." if path else ""
    if "*" in form:
        return [e for key, x in value.items() for e in _errors(x, form["*"], f"{dot}{key}")]
    known = {name.removesuffix("!"): inner for name, inner in form.items()}
    required = {name.removesuffix("!") for name in form if name.endswith("!")}
    errors = [f"{dot}{key} is unknown" for key in value if key not in known]
    errors += [f"{dot}{key} is missing" for key in sorted(required - value.keys())]
    for key in value.keys() & known.keys():
        errors += _errors(value[key], known[key], f"{dot}{key}")
    return errors


def _value_errors(value: Any, path: str) -> list[str]:
    name = path.rpartition(".")[2]
    if name in _VALUES and value not in _VALUES[name]:
        return [f"{path} expects one of {', '.join(_VALUES[name])}"]
    return []
