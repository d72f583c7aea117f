from jaxir.evaluation import examples
from jaxir.types import Doc


def test_choose_takes_the_extremes():
    base = {f"q{i}": 0.5 for i in range(6)} | {"both": 0.0}
    values = {"q0": 1.0, "q1": 0.9, "q2": 0.8, "q3": 0.5, "q4": 0.1, "q5": 0.4, "both": 0.0}
    assert examples.choose(values, base, each=2) == {
        "q0": "gains 0.50",
        "q1": "gains 0.40",
        "q4": "loses 0.40",
        "q5": "loses 0.10",
        "both": "not found by either",
    }
    assert examples.choose(base, base, each=1) == {"both": "not found by either"}
    assert examples.choose({"a": 0.5}, {"a": 0.5}) == {"a": "the same in both"}


def test_show_reads_each_document_once():
    asked = []

    def read(ids):
        asked.append(ids)
        return {i: Doc(i, "" if i == "a" else f"title {i}", f"text {i}") for i in ids}

    runs = {"x": {"q": {"a": 1.0, "b": 2.0, "c": 0.5}}, "y": {"q": {"a": 1.0}}, "z": {}}
    (example,) = examples.show(
        {"q": "note"}, runs, {"q": {"b": 1}}, query_text={"q": "why?"}, read_docs=read, hits=2
    )
    assert asked == [["a", "b"]]
    assert example == {
        "query": "why?",
        "note": "note",
        "hits": {
            "x": [
                {"title": "title b", "text": "text b", "relevant": True},
                {"title": "a", "text": "text a", "relevant": False},
            ],
            "y": [{"title": "a", "text": "text a", "relevant": False}],
            "z": [],
        },
    }
