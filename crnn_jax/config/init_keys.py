"""The keys of section `init`: what a run begins with, and which part of it is trained."""

from crnn_jax.config.key import Key, Range

INIT_KEYS: dict[str, Key] = {
    "init.from": Key(
        "",
        "the workdir of a run whose newest weights this one begins with, those that it reports, or "
        "a .safetensors file of `convert` or `export`, or a model of the package, such as "
        "digits_crnn; empty: none. Arrays of another shape, such as the head "
        "of other classes, are made anew",
        changes="gone",
    ),
    "init.skip": Key((), "patterns of names, such as head/*, of arrays that are made anew"),
    "init.freeze": Key(
        (),
        "patterns of names, such as trunk/*, of arrays that are not trained; BatchNorm whose mean "
        "is among them normalises by its running statistics and keeps them",
    ),
    "init.layer_decay": Key(
        1.0,
        "learning rates are multiplied by it once for each layer between theirs and the head: the "
        "recurrent layers, then the trunk's stages from the last; 1: off",
        within=Range(1e-3, 1),
    ),
}
