"""What the scan for secrets catches, what it does not, and where it says a secret stands."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.publish.secrets_scan import PATTERNS, scan_parquet, scan_text, secrets

MIXED = "aB3dE5gH7jK9mN2pQ4sT6vW8xY1zC0fR" * 3  # of letters and digits, as keys are
UPPER = "Q7WZ3RTX5KJ2MNB4"
# Written in two pieces, so that no scanner of this repository's files takes them for keys.
CAUGHT = {
    "Hugging Face token": ["hf" + f"_{MIXED[:34]}"],
    "Anthropic key": ["sk-" + f"ant-api03-{MIXED[:40]}"],
    "OpenAI key": ["sk-" + f"proj-{MIXED[:48]}", "sk-" + MIXED[:48]],
    "GitHub token": ["ghp" + f"_{MIXED[:36]}", "github" + f"_pat_{MIXED[:60]}"],
    "GitLab token": ["glpat" + f"-{MIXED[:20]}"],
    "AWS access key": ["AKIA" + UPPER, "ASIA" + UPPER],
    "Google API key": ["AIza" + MIXED[:35]],
    "Slack token": ["xoxb" + f"-2148{MIXED[:24]}"],
    "Slack webhook": ["https://hooks.slack" + f".com/services/T02A8BC9D/B03E7FG6H/{MIXED[:24]}"],
    "Stripe key": ["sk" + f"_live_{MIXED[:24]}"],
    "npm token": ["npm" + f"_{MIXED[:36]}"],
    "PyPI token": ["pypi" + f"-AgEIcHlwaS5vcmc{MIXED[:70]}"],
    "private key": ["-----BEGIN RSA " + "PRIVATE KEY-----", "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----"],
    "password in a URL": ["postgres://bob:hunter2@db.example.com/x", "https://bob:8f-1!x@10.0.0.1:8080/"],
}
NOT_CAUGHT = [
    "My password is hunter2.",
    "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjMifQ.c2lnbmF0dXJl",  # sessions have no owner to tell
    f"SECRET_KEY = '{MIXED}'",  # a service that is not in the list
    "AKIAIOSFODNN7EXAMPLE",  # AWS's own, in its documentation
    "hf_" + "x" * 34,
    "sk-" + "0" * 48,
    "sk-learn and hf_hub_download and ghp_short",
    "postgresql://user:password@localhost/db",
    "https://user:${PASSWORD}@example.com and ftp://me:<your-password>@host",
    "redis://default:my_password@localhost and mysql://root:root@127.0.0.1",
    "http://localhost:8080/@me and https://example.com:443/a@b",
    "-----BEGIN PUBLIC KEY----- and -----BEGIN CERTIFICATE-----",
    "<|sound_start|><|sound_0123|><|sound_0007|><|sound_end|>",
]


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in CAUGHT.items() for key in keys])
def test_a_secret_is_found_by_its_form_and_shown_redacted(name: str, key: str) -> None:
    for text in (key, f"Use {key}, please.", f'{{"key": "{key}"}}', f"({key})"):
        ((found, redacted),) = secrets(text)
        assert found == name
        assert redacted.startswith(f"{key[:4]}... (") or name == "Slack webhook"
        assert key[4:] not in redacted


def test_every_pattern_is_tested() -> None:
    assert set(CAUGHT) == set(PATTERNS)


@pytest.mark.parametrize("text", NOT_CAUGHT)
def test_what_is_no_secret_or_has_no_form_is_not_found(text: str) -> None:
    assert secrets(text) == []


def test_it_says_file_row_and_column_wherever_the_text_lies(tmp_path: Path) -> None:
    key = CAUGHT["GitHub token"][0]
    plain, nested = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])), pa.list_(pa.string())
    columns = {
        "id": pa.array([str(i) for i in range(10)]),
        "conversations": pa.array([[{"role": "user", "content": "Hi"}] * (i % 3) for i in range(10)], plain),
        "answer": pa.array([None, "a", "b"] + [f"x {key}"] + ["c"] * 6),
        "source": pa.array(["one"] * 9 + [key]).dictionary_encode(),
        "lists": pa.array([[], ["a"], None, ["b", key], *[["c"]] * 6], nested),
        "tokens": pa.array([[1, 2]] * 10),
    }
    with_key = columns["conversations"].to_pylist()
    with_key[8] = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": f"Take {key}."}]
    columns["conversations"] = pa.array(with_key, plain)
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=4)
    found = {(f.row, f.column) for f in scan_parquet("a/x.parquet", tmp_path / "x.parquet")}
    assert found == {(8, "conversations.content"), (3, "answer"), (9, "source"), (3, "lists")}
    (line,) = {f.line() for f in scan_parquet("a/x.parquet", tmp_path / "x.parquet") if f.row == 8}
    assert line == "a/x.parquet, row 8, column conversations.content: GitHub token, ghp_... (40 characters)"


def test_lines_of_a_text_are_named_and_media_in_a_page_are_not_text() -> None:
    key = CAUGHT["Google API key"][0]
    page = f'<p>fine</p>\n<img src="data:image/png;base64,+{key}/AA=="><p>{key}</p>\n'
    (finding,) = scan_text("report.html", page)
    assert finding.line() == "report.html, line 2: Google API key, AIza... (39 characters)"


def test_our_own_pages_and_examples_hold_none() -> None:
    root = Path(__file__).parents[2]
    files = [*root.glob("docs/*.md"), *root.glob("configs/*.yaml"), *root.glob("examples/*.jsonl"), root / "README.md"]
    assert len(files) > 20
    assert [f.line() for path in files for f in scan_text(path.name, path.read_text(errors="replace"))] == []
