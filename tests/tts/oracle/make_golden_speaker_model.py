"""Have SpeechBrain's own classes say who speaks, and write golden_speaker_model.npz: 192 numbers for each clip.

    python3 -m venv DIRECTORY
    DIRECTORY/bin/pip install torch==2.13.0 torchaudio==2.11.0 soundfile==0.14.0 speechbrain==1.1.2
    DIRECTORY/bin/python tests/tts/oracle/make_golden_speaker_model.py [RECORDING...]

Without `from_hparams`, whose YAML runs code: the classes that hyperparams.yaml of speechbrain/spkrec-ecapa-voxceleb
names, with its arguments. What happens before is upstream's `Pipeline.extract_spk_emb`: 30 s, then AudioNormalizer.
Of recordings the golden file holds name and numbers, no sound. speechbrain 0.5.16, which WhisperSpeech 0.8.9 asks for,
gives the same numbers, within 3e-5 of the largest.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[2])]
import seeded_speaker_model as seeded  # noqa: E402

from quantize.torchaudio_import import install  # noqa: E402

install()
from speechbrain.dataio.preprocess import AudioNormalizer  # noqa: E402
from speechbrain.lobes.features import Fbank  # noqa: E402
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN  # noqa: E402
from speechbrain.processing.features import InputNormalization  # noqa: E402

try:
    from speechbrain.inference.classifiers import EncoderClassifier
except ImportError:  # before 1.0
    from speechbrain.pretrained import EncoderClassifier


def classifier() -> EncoderClassifier:
    """Return upstream's model with our weights."""
    model = ECAPA_TDNN(
        80,
        channels=[1024, 1024, 1024, 1024, 3072],
        kernel_sizes=[5, 3, 3, 3, 1],
        dilations=[1, 2, 3, 4, 1],
        attention_channels=128,
        lin_neurons=192,
    )
    model.load_state_dict(seeded.tensors(seeded.arrays()))
    parts = {
        "compute_features": Fbank(n_mels=80, left_frames=0, right_frames=0, deltas=False),
        "mean_var_norm": InputNormalization(norm_type="sentence", std_norm=False),
        "embedding_model": model,
        "classifier": torch.nn.Identity(),
    }
    return EncoderClassifier(modules=parts, hparams={"sample_rate": 16_000})


def main() -> None:
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    upstream, normalizer = classifier().eval(), AudioNormalizer()
    clips = seeded.clips()
    for recording in map(Path, sys.argv[1:]):
        clips[recording.name] = soundfile.read(recording, dtype="float32")
    golden = {}
    for name, (samples, rate_hz) in clips.items():
        with torch.inference_mode():
            heard = normalizer(torch.from_numpy(samples)[: 30 * rate_hz], rate_hz)
            golden[name] = upstream.encode_batch(heard[None])[0, 0].numpy()
        print(name, golden[name][:3], float(np.abs(golden[name]).max()))
    np.savez(HERE / "golden_speaker_model.npz", **golden)


main()
