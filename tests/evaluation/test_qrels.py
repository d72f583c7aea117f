import gzip

import pytest

from jaxir.checks import InputError
from jaxir.evaluation import qrels

EXPECTED = {"q1": {"d 1": 1, "d2": 0}, "q2": {"d1": -1}}
BEIR = "query-id\tcorpus-id\tscore\nq1\td 1\t1\nq1\td2\t0\n\nq2\td1\t-1\n"


def write(path, text):
    (gzip.open if path.suffix == ".gz" else open)(path, "wb").write(text.encode())
    return path


def test_both_formats(tmp_path):
    assert qrels.read(write(tmp_path / "a.tsv", BEIR)) == EXPECTED
    without_header = BEIR.split("\n", 1)[1].replace("\n", "\r\n")
    assert qrels.read(write(tmp_path / "b.tsv", "\ufeff" + without_header)) == EXPECTED
    assert qrels.read(write(tmp_path / "c.tsv", BEIR.replace("\t1\n", "\t1.0\n"))) == EXPECTED
    trec = "q1 0 d1 1\nq1 Q0 d2\t0\nq2  0  d1  -1\n"
    assert qrels.read(write(tmp_path / "d.qrels", trec)) == {
        "q1": {"d1": 1, "d2": 0},
        "q2": {"d1": -1},
    }


def test_gzip(tmp_path):
    path = tmp_path / "a.tsv.gz"
    with gzip.open(path, "wb") as f:
        f.write(BEIR.encode())
    assert qrels.read(path) == EXPECTED
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match="damaged gzip"):
        qrels.read(path)
    path.write_text(BEIR)
    with pytest.raises(InputError, match="damaged gzip"):
        qrels.read(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no judgement"),
        ("query-id\tcorpus-id\tscore\n", "holds no judgement"),
        ("one two\n", "line 1: 'one two' is neither kind"),
        ("q1\td1\t1\nq1\td2\n", "line 2: expected 3 columns"),
        ("q1\td1\t1\nq1\td2\thigh\n", "line 2: the grade is 'high'"),
        ("q1\td1\t1\nq1\t\t1\n", "line 2: expected 3 columns"),
        ("q1 0 d1 1\nq1 0 d1 2\n", "line 2: query 'q1' and document 'd1' are judged twice, 1 and 2"),
        ("q1 0 d1 1\nq1 0 d1 0.5\n", "line 2: the grade is '0.5'"),
        ("q1 0 d1 nan\n", "line 1: the grade is 'nan'"),
    ],
)
def test_malformed(tmp_path, text, sentence):
    with pytest.raises(InputError) as caught:
        qrels.read(write(tmp_path / "q.txt", text))
    assert sentence in str(caught.value)


def test_not_qrels_at_all(tmp_path):
    with pytest.raises(InputError, match="looks like JSON"):
        qrels.read(tmp_path / "qrels.jsonl")
    with pytest.raises(InputError, match="there is no file"):
        qrels.read(tmp_path / "missing.tsv")
    (tmp_path / "binary.tsv").write_bytes(b"q1\td1\t1\n\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        qrels.read(tmp_path / "binary.tsv")


def test_the_real_sets(real_data):
    nfcorpus = qrels.read(real_data / "nfcorpus" / "qrels" / "test.tsv")
    assert len(nfcorpus) == 323
    assert {g for docs in nfcorpus.values() for g in docs.values()} == {1, 2}
