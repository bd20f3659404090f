"""Each case runs in a fresh interpreter: an import happens once per process."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDS_CPU_TORCH = "import torch, sys; sys.exit(77 if torch.version.cuda is not None else 0)"


def fresh(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def cpu_torch() -> None:
    if fresh(NEEDS_CPU_TORCH).returncode == 77:
        pytest.skip("this torch has CUDA: torchaudio's extension is the real one, and nothing is mended")


def test_torchaudio_works_once_quantize_is_imported() -> None:
    result = fresh(
        "import quantize, torch, torchaudio\n"
        "wave = torch.sin(torch.arange(22050) * 0.1)\n"
        "half = torchaudio.functional.resample(wave, 22050, 11025)\n"
        "assert half.shape == (11025,) and half.abs().max() > 0.9, half.shape\n"
        "mel = torchaudio.transforms.MelSpectrogram(22050, n_mels=40)(wave)\n"
        "assert mel.shape[0] == 40 and mel.isfinite().all() and mel.max() > 0\n"
    )
    assert result.returncode == 0, result.stderr


def test_a_third_party_importer_is_cured_too(tmp_path: Path) -> None:
    # transformers.audio_utils does just this wherever torchaudio is installed.
    (tmp_path / "third_party.py").write_text("import torchaudio\nversion = torchaudio.__version__\n")
    result = fresh(
        f"import quantize, sys; sys.path.insert(0, {str(tmp_path)!r})\nimport third_party as t; print(t.version)"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_without_quantize_the_import_fails_on_cpu_torch(cpu_torch: None) -> None:
    """The day this fails, torchaudio imports by itself: delete quantize/torchaudio_import.py."""
    result = fresh("import torchaudio")
    assert result.returncode != 0
    assert "Could not load this library" in result.stderr


def test_what_needs_compiled_code_says_so(cpu_torch: None) -> None:
    result = fresh(
        "import quantize, torch, torchaudio\n"
        "try:\n"
        "    torchaudio.functional.forced_align(torch.zeros(1, 4, 3), torch.ones(1, 2, dtype=torch.int32))\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    assert result.returncode == 0, result.stderr
    assert "forced_align needs torchaudio's compiled extension" in result.stdout


def test_beside_cuda_torch_the_real_loader_is_left_alone(cpu_torch: None) -> None:
    """With CUDA pretended the real extension is loaded as it stands, so here its OSError comes through."""
    result = fresh("import quantize, torch; torch.version.cuda = '13.0'\nimport torchaudio")
    assert result.returncode != 0
    assert "OSError: Could not load this library" in result.stderr


def test_installing_twice_leaves_one_finder_and_no_torch() -> None:
    result = fresh(
        "import sys, quantize\n"
        "from quantize.torchaudio_import import TorchaudioFinder, install\n"
        "install(); install()\n"
        "assert sum(isinstance(finder, TorchaudioFinder) for finder in sys.meta_path) == 1\n"
        "assert 'torch' not in sys.modules and 'soundfile' not in sys.modules\n"
    )
    assert result.returncode == 0, result.stderr
