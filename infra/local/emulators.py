"""Finds and starts Google's emulators of Pub/Sub and Firestore: Java programs that come with the gcloud SDK.

Both keep everything in memory: whoever starts one makes its topics or documents again in `on_restart`.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.ports import PortOf, any_port
from infra.local.processes import Command, StartFailed, Supervisor

RULES = Path(__file__).resolve().parents[1] / "firestore" / "firestore.rules"

_PUBSUB = "platform/pubsub-emulator/lib"
_FIRESTORE = "platform/cloud-firestore-emulator"
_FIRESTORE_MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
_SDK_VARIABLES = ("BINDERY_EMULATORS_HOME", "CLOUDSDK_ROOT", "CLOUDSDK_ROOT_DIR")
_MIN_JAVA = 11
# A small young generation, and a heap that shrinks: else they begin with a sixty-fourth of the machine's memory.
_JVM = (
    *("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-Xmx512m", "-Xms16m", "-Xmn16m", "-XX:MinHeapFreeRatio=20", "-XX:MaxHeapFreeRatio=40"),
)
_READY_SECONDS = 30.0
_ASK_SECONDS = 20.0
_PORTS_TO_TRY = 3

_NO_SDK = "gcloud is not installed; install the Google Cloud SDK, or set BINDERY_EMULATORS_HOME to its folder"
_NO_EMULATORS = (
    "the Google Cloud SDK in {root} lacks the emulators; run: "
    "gcloud components install pubsub-emulator cloud-firestore-emulator (or, where the SDK came from apt: "
    "apt-get install google-cloud-cli-pubsub-emulator google-cloud-cli-firestore-emulator)"
)


@dataclass(frozen=True, kw_only=True)
class Emulators:
    """Where the programs are."""

    java: str
    pubsub: Path
    firestore: Path


@dataclass(frozen=True)
class Missing:
    """Why there are no emulators, and what to do."""

    reason: str


def find_emulators() -> Emulators | Missing:
    """Looks in $BINDERY_EMULATORS_HOME or $CLOUDSDK_ROOT, else in the SDK of the `gcloud` on the path."""
    root = _sdk_root()
    if root is None:
        return Missing(_NO_SDK)
    pubsub = sorted((root / _PUBSUB).glob("cloud-pubsub-emulator-*-all.jar"))
    firestore = sorted((root / _FIRESTORE).glob("cloud-firestore-emulator.jar"))
    if not pubsub or not firestore:
        return Missing(_NO_EMULATORS.format(root=root))
    java = _find_java()
    if isinstance(java, Missing):
        return java
    return Emulators(java=java, pubsub=pubsub[-1], firestore=firestore[-1])


def _sdk_root() -> Path | None:
    for name in _SDK_VARIABLES:
        if os.environ.get(name):
            return Path(os.environ[name])
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return None
    beside = Path(gcloud).resolve().parents[1]
    candidates = [beside, beside / "lib" / "google-cloud-sdk", beside / "share" / "google-cloud-sdk"]
    found = next((c for c in candidates if (c / "platform").is_dir()), None)
    return found or _sdk_root_by_gcloud_info(gcloud) or beside


def _sdk_root_by_gcloud_info(gcloud: str) -> Path | None:
    """Asks a `gcloud` that is a wrapper (of snap, say). It takes a second or two, so only then."""
    said = _output([gcloud, "info", "--format=value(installation.sdk_root)"])
    return Path(said[0].strip()) if said and said[0].strip() else None


def _find_java() -> str | Missing:
    home = os.environ.get("JAVA_HOME")
    ours = Path(home, "bin", "java") if home else None
    java = str(ours) if ours and ours.exists() else shutil.which("java")
    if java is None:
        return Missing("there is no java on the path; install Java 17, or set JAVA_HOME")
    said = _output([java, "-version"])
    version = re.search(r'version "(?:1\.)?(\d+)', "".join(said or ()))
    if version is None:
        return Missing(f"{java} does not run; install Java 17, or set JAVA_HOME")
    if int(version[1]) < _MIN_JAVA:
        return Missing(f"Java {version[1]} is too old for the emulators; install Java 17, or set JAVA_HOME")
    return java


def _output(argv: Sequence[str]) -> tuple[str, str] | None:
    """What it wrote, plainly and as errors; None if it can't be run or takes too long."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ASK_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout, done.stderr


def start_pubsub(
    supervisor: Supervisor,
    emulators: Emulators,
    on_restart: Callable[[], None] = lambda: None,
    *,
    port_of: PortOf = any_port,
) -> str:
    """Starts it, and returns `host:port`, which outlasts a restart. Raises StartFailed."""
    argv = [emulators.java, *_JVM, "-jar", str(emulators.pubsub)]
    return _start(supervisor, "pubsub", argv, on_restart, port_of)


def start_firestore(
    supervisor: Supervisor,
    emulators: Emulators,
    on_restart: Callable[[], None] = lambda: None,
    *,
    port_of: PortOf = any_port,
    rules: Path = RULES,
) -> str:
    """As `start_pubsub`, and with security rules, which hold for whoever comes with a user's token."""
    argv = [emulators.java, *_JVM, "-cp", str(emulators.firestore), _FIRESTORE_MAIN, f"--rules={rules}"]
    return _start(supervisor, "firestore", argv, on_restart, port_of)


def _start(
    supervisor: Supervisor, name: str, argv: Sequence[str], on_restart: Callable[[], None], port_of: PortOf
) -> str:
    # If somebody takes the port just before the emulator does, it hangs: then we try another one.
    for tries_left in reversed(range(_PORTS_TO_TRY)):
        port = port_of(name)
        try:
            supervisor.start(_command(name, argv, port), on_restart)
            break
        except StartFailed:
            if not tries_left:
                raise
    return f"127.0.0.1:{port}"


def _command(name: str, argv: Sequence[str], port: int) -> Command:
    return Command(
        name=name,
        argv=[*argv, "--host=127.0.0.1", f"--port={port}"],
        ready=lambda: _answers(port),
        seconds=_READY_SECONDS,
    )


def _answers(port: int) -> bool:
    # Not urllib: a proxy of the environment must not be asked about this machine.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().strip() == b"Ok"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
