"""Finds and starts Google's emulators of Pub/Sub and Firestore: Java programs that come with the gcloud SDK."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from infra.local.processes import Command, StartFailed, Supervisor, free_port

RULES = Path(__file__).resolve().parents[1] / "firestore" / "firestore.rules"
_PUBSUB = "platform/pubsub-emulator/lib"
_FIRESTORE = "platform/cloud-firestore-emulator"
_MIN_JAVA = 11


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
    """Looks below $BINDERY_EMULATORS_HOME or $CLOUDSDK_ROOT_DIR, else beside the `gcloud` on the path."""
    root = _sdk_root()
    if root is None:
        return Missing("gcloud is not installed; install the Google Cloud SDK, or set BINDERY_EMULATORS_HOME to it")
    pubsub = sorted((root / _PUBSUB).glob("cloud-pubsub-emulator-*-all.jar"))
    firestore = sorted((root / _FIRESTORE).glob("cloud-firestore-emulator.jar"))
    if not pubsub or not firestore:
        return Missing(
            "the SDK lacks the emulators; run: gcloud components install pubsub-emulator cloud-firestore-emulator"
        )
    java = _java()
    if java is None:
        return Missing("there is no java on the path; install Java 17, or set JAVA_HOME")
    if (version := _java_version(java)) < _MIN_JAVA:
        return Missing(f"Java {version} is too old for the emulators; install Java 17")
    return Emulators(java=java, pubsub=pubsub[-1], firestore=firestore[-1])


def _sdk_root() -> Path | None:
    for name in ("BINDERY_EMULATORS_HOME", "CLOUDSDK_ROOT_DIR"):
        if os.environ.get(name):
            return Path(os.environ[name])
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return None
    beside = Path(gcloud).resolve().parents[1]
    candidates = [beside, beside / "lib" / "google-cloud-sdk", beside / "share" / "google-cloud-sdk"]
    return next((c for c in candidates if (c / "platform").is_dir()), beside)


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").exists():
        return str(Path(home) / "bin" / "java")
    return shutil.which("java")


def _java_version(java: str) -> int:
    said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    digits = said.partition('"')[2].partition(".")[0]
    return int(digits) if digits.isdigit() else 0


def start_pubsub(supervisor: Supervisor, emulators: Emulators, on_restart: object) -> str:
    """Starts it and returns its `host:port`; it keeps the port when it is restarted."""
    flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m", "-jar", str(emulators.pubsub)]
    return _start(supervisor, "pubsub", [emulators.java, *flags, "--host=127.0.0.1", "--port={port}"], on_restart)


def start_firestore(supervisor: Supervisor, emulators: Emulators, on_restart: object) -> str:
    """As `start_pubsub`, with Bindery's rules."""
    main = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
    flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m", "-cp", str(emulators.firestore), main]
    places = ["--host=127.0.0.1", "--port={port}", f"--rules={RULES}"]
    return _start(supervisor, "firestore", [emulators.java, *flags, *places], on_restart)


def _start(supervisor: Supervisor, name: str, argv: list[str], on_restart: object) -> str:
    # If the port is taken in between, the emulator hangs: another port then.
    for attempt in range(3):
        port = free_port()
        command = Command(
            name=name,
            argv=[a.format(port=port) if a.startswith("--port") else a for a in argv],
            env={**os.environ},
            ready=lambda port=port: _answers(port),  # type: ignore[misc]
            seconds=30,
        )
        try:
            supervisor.start(command, on_restart)  # type: ignore[arg-type]
            return f"127.0.0.1:{port}"
        except StartFailed:
            if attempt == 2:
                raise
    raise AssertionError


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as reply:
            return bool(reply.read().strip() == b"Ok")
    except OSError:
        return False
