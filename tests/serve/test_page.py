"""The page in a browser, as wide as a phone and a desk: files chosen, dropped, and refused."""

import shutil
import socket
import threading

import pytest

pytestmark = pytest.mark.slow
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
DROP = """async (bytes) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(bytes)], "dropped.png", {type: "image/png"}));
  const drop = new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true});
  document.getElementById("drop").dispatchEvent(drop);
}"""


@pytest.fixture
def address(fake_predictor):
    """Where a server of the fake model listens."""
    import uvicorn

    from crnn_jax.serve.app import Service, make_app
    from crnn_jax.serve.body import Limits

    app = make_app(Service(fake_predictor, Limits()), "brightness")
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("width", [390, 1440])
def test_images_are_chosen_and_dropped(width, address, image, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        pytest.skip("no browser here")
    names = []
    for index, brightness in enumerate((255, 0, 128)):
        names.append(tmp_path / f"{index}{'-long-name' * 12}.png")
        names[-1].write_bytes(image(brightness))
    (tmp_path / "broken.png").write_bytes(b"no image")
    asked, errors = [], []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=browser_path, args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_function("document.title == 'brightness'")
        page.set_input_files("#file", names)
        page.wait_for_selector("#found li:nth-child(3)")
        first = page.locator("#found li").first.locator(".row").first.inner_text().split()
        assert first == ["bright", "100.0", "%"]
        page.evaluate(DROP, list(image(0)))
        page.wait_for_selector("#found li:nth-child(4)")
        dropped = page.locator("#found li").first
        assert dropped.locator(".name").inner_text() == "dropped.png"
        assert dropped.locator(".row").first.inner_text().split()[0] == "dark"
        page.set_input_files("#file", tmp_path / "broken.png")
        page.wait_for_selector("#said.wrong")
        assert "broken.png: expected an image" in page.locator("#said").inner_text()
        assert page.locator("#found li").count() == 4
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert errors == []
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []
