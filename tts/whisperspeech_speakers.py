"""Who speaks: 192 numbers of SpeechBrain's ECAPA-TDNN, upstream's default or from a file."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

WIDTH = 192

# Source: collabora/WhisperSpeech 0.8.9 `pipeline.py`, `Pipeline.default_speaker`, MIT.
DEFAULT = (
    -0.2929, -0.4503, 0.4155, -0.1417, 0.0473, -0.1624, -0.2322, 0.7071, 0.4800, 0.5496, 0.0410, 0.6236, 0.4729,
    0.0587, 0.2194, -0.0466, -0.3036, 0.0497, 0.5028, -0.1703, 0.5039, -0.6464, 0.3857, -0.7350, -0.1605,
    0.4808, 0.5397, -0.4851, 0.1774, -0.8712, 0.5789, 0.1785, -0.1417, 0.3039, 0.4232, -0.0186, 0.2685, 0.6153,
    -0.3103, -0.5706, -0.4494, 0.3394, -0.6184, -0.3617, 1.1041, -0.1178, -0.1885, 0.1997, 0.5571, -0.2906,
    -0.0477, -0.4048, -0.1062, 1.4779, 0.1639, -0.3712, -0.1776, -0.0568, -0.6162, 0.0110, -0.0207, -0.1319,
    -0.3854, 0.7248, 0.0343, 0.5724, 0.0670, 0.0486, -0.3813, 0.1738, 0.3017, 1.0502, 0.1550, 0.5708, 0.0366,
    0.5093, 0.0294, -0.7091, -0.8220, -0.1583, -0.2343, 0.1366, 0.7372, -0.0631, 0.1505, 0.4600, -0.1252,
    -0.5245, 0.7523, -0.0386, -0.2587, 1.0066, -0.2037, 0.1617, -0.3800, 0.2790, 0.0184, -0.5111, -0.7291,
    0.1627, 0.2367, -0.0192, 0.4822, -0.4458, 0.1457, -0.5884, 0.1909, 0.2563, -0.2035, -0.0377, 0.7771, 0.2139,
    0.3801, 0.6047, -0.6043, -0.2563, -0.0726, 0.3856, 0.3217, 0.0823, -0.1302, 0.3287, 0.5693, 0.2453, 0.8231,
    0.0072, 1.0327, 0.6065, -0.0620, -0.5572, 0.5220, 0.2485, 0.1520, 0.0222, -0.2179, -0.7392, -0.3855, 0.1822,
    0.1042, 0.7133, 0.3583, 0.0606, -0.0424, -0.9189, -0.4882, -0.5480, -0.5719, -0.1660, -0.3439, -0.5814,
    -0.2542, 0.0197, 0.4942, 0.0915, -0.0420, -0.0035, 0.5578, 0.1051, -0.0891, 0.2348, 0.6876, -0.6685, 0.8215,
    -0.3692, -0.3150, -0.0462, -0.6806, -0.2661, -0.0308, -0.0050, 0.6756, -0.1647, 1.0734, 0.0049, 0.4969,
    0.0259, -0.8949, 0.0731, 0.0886, 0.3442, -0.1433, -0.6804, 0.2204, 0.1859, 0.2702, 0.1699, -0.1443, -0.9614,
    0.3261, 0.1718, 0.3545, -0.0686,
)  # fmt: skip
assert len(DEFAULT) == WIDTH


def load_speaker(where: str) -> NDArray[np.float32]:
    """Return float32 (192,) of "default", or of a file: `.npy`, or `.pt` with one tensor.

    Raises ValueError, naming the file, for anything but 192 finite numbers that are not all zero.
    """
    if where == "default":
        return np.array(DEFAULT, np.float32)
    path = Path(where)
    if not path.is_file():
        raise ValueError(f"there is no speaker file {path.absolute()}: give a .npy or .pt file, or default")
    vector = np.squeeze(_read(path))
    if vector.shape != (WIDTH,) or not np.issubdtype(vector.dtype, np.floating):
        raise ValueError(f"{path} holds {vector.dtype} {vector.shape}; a speaker is {WIDTH} numbers of ECAPA-TDNN")
    if not np.isfinite(vector).all() or not vector.any():
        raise ValueError(f"{path}: a speaker's numbers must be finite and not all zero")
    return vector.astype(np.float32)


def _read(path: Path) -> NDArray[np.generic]:
    try:
        if path.suffix == ".npy":
            found: NDArray[np.generic] = np.load(path, allow_pickle=False)
            return found
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is no array of numbers, and nothing else is loaded ({reason})") from error
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"{path} holds a {type(tensor).__name__}, not a tensor")
    return tensor.float().numpy()
