"""Write the clips that the oracle encodes, float32 at 16 kHz (24 kHz for Encodec), as .npy.

    python tests/quantize/oracle/write_clips.py OUT [RECORDINGS]

eSpeak's sentences and, where a folder is given, every recording in it, longer ones cut into pieces of 30 s as
`quantize.clips` cuts them. Run with the project's own Python.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parents[1])]

from clips_of import espeak_clips, recorded_clips  # noqa: E402
from seeded import synthetic_clips  # noqa: E402


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    clips = {**synthetic_clips(), **espeak_clips()}
    if len(sys.argv) > 2:
        clips |= recorded_clips(Path(sys.argv[2]))
    for name, samples in clips.items():
        np.save(out / f"{name}.npy", samples)
    print(f"{len(clips)} clips in {out}")


if __name__ == "__main__":
    main()
