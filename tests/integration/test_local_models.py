"""What the models on this machine need beside each other, in a process that has imported nothing yet."""

from __future__ import annotations

import subprocess
import sys

# A summary's thread imports numpy and stops in the middle of it until the embedder's thread waits for an import.
_IN_TWO_THREADS = """
import sys, threading
from shared.adapters.local_models.context import LocalContextExtractor
from shared.adapters.local_models.embedder import LocalEmbedder

in_the_middle = threading.Event()
failed = []


def stop_in_the_middle(frame, event, arg):
    if frame.f_code.co_filename.endswith("numpy/__config__.py") and frame.f_code.co_name == "<module>":
        sys.setprofile(None)
        in_the_middle.set()
        while sys._current_frames()[embedding.ident].f_code.co_name != "acquire":
            pass


def summarise():
    sys.setprofile(stop_in_the_middle)
    attempt(LocalContextExtractor().chapter, "A title", "The harbour lay in the mist that evening, and nobody came. " * 9)


def attempt(job, *args):
    try:
        job(*args)
    except ImportError as error:
        failed.append(str(error))


def embed():
    in_the_middle.wait()
    attempt(LocalEmbedder().embed, ["One sentence."], "document")


summarising = threading.Thread(target=summarise)
embedding = threading.Thread(target=embed)
for thread in (embedding, summarising):
    thread.start()
for thread in (embedding, summarising):
    thread.join()
sys.exit("; ".join(failed) or None)
"""


def test_two_stages_load_their_models_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", _IN_TWO_THREADS], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
