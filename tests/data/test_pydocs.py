import subprocess
import sys
import textwrap

import pytest

from jaxir.checks import InputError
from jaxir.data import docstrings
from jaxir.data.public_names import public_names
from jaxir.data.sources import pydocs

BODY = "This sentence has enough words to count as the body of a docstring, surely."


@pytest.fixture
def package(tmp_path):
    """modules(**{"pkg/__init__.py": source}) -> the facts of each module, by dotted name."""

    def write(**files):
        facts = {}
        for name, source in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source))
            dotted = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            facts[dotted] = docstrings.read_module(str(path))
        return facts

    return write


def test_reads_docstrings_without_importing(package):
    facts = package(
        **{
            "m.py": '''
            """The module."""
            raise SystemExit("importing would stop here")
            def f():
                """A function."""
                def inner(): """Not seen."""
            def _private(): """Hidden."""
            class C:
                """A class."""
                def method(self): """A method."""
                def _hidden(self): """Hidden."""
            try:
                import x
            except ImportError:
                pass
            else:
                def g(): """Under else."""
            '''
        }
    )["m"]
    assert facts["docs"] == [
        ("", "The module."),
        ("f", "A function."),
        ("C", "A class."),
        ("C.method", "A method."),
        ("g", "Under else."),
    ]
    assert facts["names"] == ["f", "_private", "C", "g"]


@pytest.mark.parametrize("source", ["def broken(:\n    '''text'''", "x = '''\0'''", ""])
def test_files_that_python_cannot_read_say_nothing(tmp_path, source):
    path = tmp_path / "m.py"
    path.write_text(source)
    assert docstrings.read_module(str(path))["docs"] == []


def test_public_names_follow_re_exports(package):
    modules = package(
        **{
            "pkg/__init__.py": "from ._impl import *\nfrom pkg._impl import second as deux",
            "pkg/_impl.py": """
                from ._deep import third
                __all__ = ["first", "third"]
                def first(): pass
                def second(): pass
                def unseen(): pass
                """,
            "pkg/_deep.py": "def third(): 'documented'\n'''a text'''",
            "pkg/public.py": """
                from ._impl import unseen
                from ._deep import third as third
                def own(): pass
                """,
            "pkg/_loop.py": "from ._loop2 import *",
            "pkg/_loop2.py": "from ._loop import *",
        }
    )
    names = public_names(modules)
    assert names == {
        ("pkg._impl", "first"): "pkg.first",
        ("pkg._impl", "second"): "pkg.deux",
        ("pkg._deep", "third"): "pkg.third",
        ("pkg.public", "own"): "pkg.public.own",
    }


@pytest.mark.parametrize(
    ("docstring", "summary", "body"),
    [
        (f"Solve a system.\n\n{BODY}", "Solve a system.", BODY),
        (f"Solve a\nlong system.\n\n{BODY}", "Solve a long system.", BODY),
        (f"solve(a, b) -> x\n\nSolve a system.\n\n{BODY}", "Solve a system.", BODY),
        (f"Solve a system.\n:param a: {BODY}", "Solve a system.", f":param a: {BODY}"),
        (f"A Long Title\n============\n\n{BODY}", "A Long Title", BODY),
        (f"Solve a system.\n\nSolve a system!  {BODY}", "Solve a system.", BODY),
        (f"Solve a system.\n\nSolve *a* system.\nSolve a system. {BODY}", "Solve a system.", BODY),
    ],
)
def test_split(docstring, summary, body):
    assert pydocs.split_docstring(docstring) == (summary, body)


@pytest.mark.parametrize(
    "docstring",
    [
        "Solve a system.",
        f"Solve.\n\n{BODY}",
        "Solve a system.\n\nToo short a body.",
        f"{'Words ' * 40}\n\n{BODY}",
        f"Solve a system.\n\n{BODY} It can solve a system. And more.",
        f"...\n\n{BODY}",
        "",
    ],
)
def test_what_is_no_pair(docstring):
    assert pydocs.split_docstring(docstring) is None


def test_real_packages():
    source = pydocs.open("numpy,rax", progress=False)
    by_name = {doc.doc_id: doc for doc in source.docs}
    queries = {q.query_id: q.text for rows in source.queries.values() for q in rows}
    assert len(by_name) == len(source.docs) == len(queries) > 400
    assert "linear matrix equation" in queries["numpy.linalg.solve"]
    assert "LAPACK" in by_name["numpy.linalg.solve"].text
    assert by_name["numpy.linalg.solve"].title == "numpy.linalg.solve"
    assert "rax.ndcg_metric" in by_name
    assert not [name for name in by_name if "._" in name or name.startswith("_")]
    assert len(set(queries.values())) == len(queries)
    assert len({doc.text for doc in source.docs}) == len(by_name)
    plain = pydocs._plain
    assert not [n for n, doc in by_name.items() if plain(queries[n]) in plain(doc.text)]
    for split, rows in source.qrels.items():
        assert [q.query_id for q in source.queries[split]] == [r.query_id for r in rows]
        for qrel in rows:
            assert qrel == (qrel.query_id, qrel.query_id, 1)
            assert pydocs.split_of(qrel.query_id) == split


def test_shares_of_the_splits():
    names = [f"package.module.name{i}" for i in range(5000)]
    shares = {s: sum(pydocs.split_of(n) == s for n in names) / 5000 for s in ("train", "dev", "test")}
    assert abs(shares["train"] - 0.80) < 0.02
    assert abs(shares["dev"] - 0.08) < 0.02
    assert abs(shares["test"] - 0.12) < 0.02


def test_nothing_is_imported():
    code = (
        "import sys; from jaxir.data.sources import pydocs; pydocs.open('rax', progress=False);"
        "assert 'rax' not in sys.modules and 'tensorflow_datasets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_unknown_package():
    with pytest.raises(InputError, match="does not read 'torch'"):
        pydocs.open("torch", progress=False)
