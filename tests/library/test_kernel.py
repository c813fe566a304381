"""In a Jupyter kernel: what fit, the substitute data and the checkers leave in the notebook."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CELLS = {
    "trained": """
        import itertools, math, os, signal, tempfile, time
        import torchvision
        import gencourse as gc
        def step(x):
            time.sleep(0.01)
            return {"loss": 2.0 / (x + 1), "D": 0.5}
        history = gc.fit(step, itertools.count(), 40, label="training")
        """,
    "interrupted": """
        def stopping(x):
            if x == 4:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
            return {"loss": float(x)}
        gc.fit(stopping, itertools.count(), 1000)
        """,
    "diverged": """
        gc.fit(lambda x: {"loss": math.nan if x == 2 else 1.0}, itertools.count(), 10)
        """,
    "substitute": """
        os.environ["GENCOURSE_DATA"] = tempfile.mkdtemp()
        torchvision.datasets.MNIST.mirrors = ["http://127.0.0.1:9/"]
        images = gc.data.mnist()
        """,
    "checked": """
        gc.check.close(lambda: 0.25, 0.5, hint="Twice.")
        """,
}


@pytest.fixture(scope="module")
def ran():
    """The outputs of each cell, and the kinds of widgets that were made on the way."""
    from textwrap import dedent

    cells = [nbformat.v4.new_code_cell(dedent(source).strip()) for source in CELLS.values()]
    for cell in cells:
        cell.metadata["tags"] = ["raises-exception"]
    kinds = []

    class Watching(NotebookClient):
        def process_message(self, message, *args):
            data = message["content"].get("data", {})
            kinds.append(data.get("state", {}).get("_model_name") if message["msg_type"] == "comm_open" else None)
            return super().process_message(message, *args)

    Watching(nbformat.v4.new_notebook(cells=cells), timeout=60, kernel_name="python3").execute()
    return {name: cell.outputs for name, cell in zip(CELLS, cells)} | {"widgets": kinds}


def text(output):
    return output["data"]["text/plain"]


def check_one_line(outputs, pattern):
    """One static line of text, and nothing that needs a kernel or a widget manager."""
    (output,) = outputs
    assert output["output_type"] == "display_data" and list(output["data"]) == ["text/plain"]
    assert "\n" not in text(output) and re.fullmatch(pattern, text(output)), text(output)


TRAINED = r"training: 40 steps in \d+ s \(\d+ steps/s\) · loss 0\.05 · D 0\.5"


def test_progress_ends_as_one_line(ran):
    check_one_line(ran["trained"], TRAINED)


def test_progress_is_a_widget_meanwhile(ran):
    assert "FloatProgressModel" in ran["widgets"]


def test_interrupt_of_the_kernel(ran):
    *progress, error = ran["interrupted"]
    assert error["ename"] == "TrainingStopped" and "after 5 of 1,000 steps" in error["evalue"]
    check_one_line(progress, r"stopped after 5 of 1,000 steps, in \d+ s \(\d+ steps/s\) · loss 4")


def test_divergence(ran):
    progress, error = ran["diverged"]
    check_one_line([progress], r"stopped after 3 of 10 steps, in \d+ s \(\d+ steps/s\) · loss nan")
    assert error["ename"] == "TrainingDiverged" and "loss became nan at step 3" in error["evalue"]


def test_substitute_data_cannot_be_missed(ran):
    (output,) = ran["substitute"]
    shown = output["data"]["text/html"]
    assert shown.startswith('<div role="alert"') and "Substitute data" in shown
    assert "MNIST could not be loaded" in shown and "127.0.0.1" in shown and "&lt;urlopen error" in shown


def test_checker(ran):
    (output,) = ran["checked"]
    assert text(output).startswith("✗ The result is half what it should be.")
    assert "<details><summary>Hint</summary>Twice.</details>" in output["data"]["text/html"]


@pytest.mark.parametrize(
    "twin",
    [
        lambda o: [*o, o[0]],
        lambda o: [],
        lambda o: [{**o[0], "data": {**o[0]["data"], "application/vnd.jupyter.widget-view+json": {}}}],
        lambda o: [{**o[0], "data": {"text/plain": text(o[0]) + "\n40/40"}}],
        lambda o: [{"output_type": "stream", "text": text(o[0])}],
    ],
    ids=["twice", "nothing", "a widget stays", "two lines", "printed"],
)
def test_broken_outputs(ran, twin):
    with pytest.raises((AssertionError, ValueError)):
        check_one_line(twin(ran["trained"]), TRAINED)
