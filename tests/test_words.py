"""Words that this project has retired, British spellings, machines' paths, and long files.

Every text file is a parameter: `pytest tests/test_words.py -k benchmarks/table` checks one. Names
are split at underscores and capitals, so that words of `old_word` and `OldWord` are found too.

Where a word is right in one file, add the file to EXCEPTIONS with the reason; where a phrase is a
term of the field, add it to TERMS.
"""

from __future__ import annotations

import functools
import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = (".py", ".cpp", ".h", ".cu", ".cuh")
KERNELS = ("csrc/", "tests/cpp/")
TEXT = (*CODE, ".md", ".toml", ".txt", ".yaml", ".json", ".in", ".j2", ".css", ".html")
NAMES = ("Makefile", ".ci/run")
FOLDERS = ("benchmarks", "build_backend", "configs", "csrc", "docs", "examples", "fairloss_ext")
FOLDERS += ("python", "tests")
MOST_LINES = 400

# Pattern of the lower-case text with names split into words -> what to write instead.
RETIRED = {
    r"spoil(?:t|ed|s|ing)?": "non-finite or invalid",
    r"boost(?:s|ed|ing)?": "gradient scale",
    r"grad(?:ient)? (?:across|along)|(?:across|along) grad(?:ient)?": "gradient of the unit row",
    r"kept cosines?": "saved cosines",
    r"rooms?": "scratch buffer, space or folder",
    r"bends?|bent|bending": "hard-negative transform",
    r"steepest": "max_slope, or what it is",
    r"cards?": "GPU",
    r"second cache": "L2",
    r"processors?": "CPU",
    r"waits? for (?:a|the) gpu": "synchronizes",
    r"twins?": "reference",
    r"floors?": "roofline bound or lower bound",
    r"ceilings?": "peak or upper bound",
    r"rac(?:e|es|ed|ing)": "comparison, or data race",
    r"rivals?|contenders?|peers?": "baseline or candidate",
    r"people|persons?|subjects?": "identity, or user",
    r"go(?:es|ing)? on|went on": "continues or resumes",
    r"mend(?:s|ed|ing)?": "fix",
    r"tells?|told|telling": "says, reports or shows",
    r"its words": "its message",
    r"nobody|somebody|anybody|everybody": "none, any or every",
    r"unshuffled": "NO_ASLR",
}

# Names of quantities, which code retires and prose may use as verbs.
RETIRED_IN_CODE = {
    r"pull(?:s|ed|ing)?": "grad_target_cosine",
    r"push(?:es|ed|ing)?": "grad_nlse",
}
RETIRED_IN_KERNELS = {r"curves?": "hard-negative transform"}  # elsewhere curves of an ROC

# Names that are participles or prepositions, where code binds them; and first words of docstrings.
VAGUE = r"(?:found|chosen|known|wanted|moved|own|of|on|at|put|place|across|along)"
RETIRED_FORMS = {
    rf"(?<![\w.]){VAGUE} *(?::[^=\n(]+|[-+*/|])?=(?!=)": "a noun for a thing, a verb for an action",
    rf"(?<![\w.])(?:def {VAGUE}\(|for {VAGUE} in |as {VAGUE}:)": "a noun or a verb",
    r"\"\"\"(?:What|Whether|Of|How|Its)\b": "an imperative or a noun phrase",
}

STEMS = (  # of British -ise, American -ize
    "binar|canonical|categor|character|custom|discret|equal|factor|final|general|initial|local"
    "|material|maxim|memor|minim|normal|optim|organ|parallel|penal|prior|quant|random|raster|real"
    "|recogn|regular|serial|special|stabil|standard|summar|symmetr|synchron|token|util|vector|visual"
)
BRITISH = {
    rf"(?:re|un|de)?(?:{STEMS})is(?:e|ed|es|er|ers|ing|ation|ations|able)": "-ize",
    r"centre[sd]?|centring": "center",
    r"(?:dis)?colour\w*": "color",
    r"greys?|greyscale": "gray",
    r"neighbour\w*": "neighbor",
    r"behaviour\w*": "behavior",
    r"(?:dis)?honour\w*": "honor",
    r"(?:un)?favour\w*": "favor",
    r"artefacts?": "artifact",
    r"licences?": "license",
    r"analyse[srd]?|analysing": "analyze",
    r"fibres?": "fiber",
    r"metres?": "meter",
    r"catalogues?": "catalog",
    r"(?:re|un)?(?:label|model|cancel|travel|signal)l(?:ed|ing)": "one l",
    r"whilst|learnt|spelt|burnt": "while, learned, spelled, burned",
    r"judgements?": "judgment",
    r"defence|offence": "-ense",
}
MACHINE = {r"(?<![\w.])/(?:home|users|root|work|mnt|scratch)/\w+": "a relative path"}

# Terms of the field and of other programs, which contain a retired word.
TERMS = (
    r"push (?:back|front|options)|attribute push",  # pragmas
    r"(?:data|model) cards?",
    r"data races?|race conditions?|races between|(?:cuda|sanitize)-races",
    r"memory races|[\"'`\[,]races[\"'`\],]",  # a variant of tests/host_run
    r"[.:]floor\b|floor ?\(|floor divi\w+",
    r"subject id",
    r"renamed keywords\([^)]*\)",
    r"\w+ = renamed ?attribute\(",
    r"person of",  # a public function
    r"platform\.processor",
    r"file\.tell\(\)",
    r"[\"'][\w ]+[\"']: *[\"'][\w. ]+:",  # old names in a table of fairloss.deprecation.renamed
    # Keys of files and of pickles that users have, and columns of data sets.
    r"[\"'](?:processor|contender|ceilings|people|person|subject|race|regulariser)[\"']",
)

# (paths, pattern): reason.
EXCEPTIONS = {
    ("benchmarks/results/*", "."): "written by earlier versions",
    ("docs/benchmarks.md", "processor"): "a CPU as its maker names it",
    ("CHANGELOG.md", "."): "lists old names beside the new ones",
    ("LICENSE", "."): "a text of others",
    ("tests/test_words.py", "."): "lists the words",
    ("tests/heads/test_renamed.py", "regulariser"): "an old name, which works with a warning",
    ("benchmarks/record.py", "floor|ceilings|contender"): "names in files of earlier versions",
    ("tests/benchmarks/test_table.py", "floor"): "names in files of earlier versions",
    ("benchmarks/gpu/results.py", "ceilings|contender"): "names in files of earlier versions",
    ("benchmarks/megaface_scale.py", "people"): "an option",
    ("python/fairloss/data/ijb.py", "subjects?"): "a column of IJB's files",
    ("python/fairloss/cli/evaluate/ijb.py", "subjects?"): "a column of IJB's files",
    ("tests/data/test_features.py", "subjects?"): "a column of IJB's files",
    ("python/fairloss/data/synthetic_megaface.py", "person"): "names in its files",
    ("python/fairloss/data/pair_lists.py", "person"): "a part of a published path",
    ("*/cli/*megaface.py", "people"): "an option",
    ("*/report/*.py", "person"): "a column of users' files",
}


def files() -> list[str]:
    """Return the text files of the repository, or of the source distribution."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(
            command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8"
        )
        paths = listed.stdout.splitlines()
    else:
        inner = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.is_file()]
        paths = [str(p.relative_to(ROOT)) for p in [*inner, *ROOT.glob("*.*")]]
    return sorted(p for p in paths if p.endswith(TEXT) or p in NAMES if (ROOT / p).is_file())


def split_names(text: str) -> str:
    """Separate the words of names; line breaks stay where they are."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text.replace("_", " "))
    return text.lower()


@functools.cache
def compiled_rules(code: bool, kernel: bool) -> tuple[re.Pattern[str], list[str]]:
    """Return one pattern for all retired words, and the suggestion of each of its groups."""
    rules = RETIRED | BRITISH | MACHINE
    rules |= (RETIRED_IN_CODE if code else {}) | (RETIRED_IN_KERNELS if kernel else {})
    pattern = "|".join(rf"((?<![a-z0-9]){word}(?![a-z0-9]))" for word in rules)
    return re.compile(pattern), list(rules.values())


def findings(path: str, text: str) -> list[str]:
    """Return `path:line: word -> suggestion` for every retired word; line 0 is the path."""
    allowed = [word for (paths, word) in EXCEPTIONS if fnmatch(path, paths)]
    if "." in allowed:
        return []
    plain = split_names(f"{path}\n{text}")
    plain = re.sub("|".join(TERMS), lambda term: re.sub(r"[^\n]", " ", term[0]), plain)
    pattern, suggestions = compiled_rules(path.endswith(CODE), path.startswith(KERNELS))
    result = [
        f"{path}:{plain.count(chr(10), 0, match.start())}: {match[0]} -> "
        f"{suggestions[match.lastindex - 1]}"
        for match in pattern.finditer(plain)
        if not any(re.fullmatch(word, match[0]) for word in allowed)
    ]
    for form, suggestion in RETIRED_FORMS.items() if path.endswith(CODE) else ():
        for match in re.finditer(form, text):
            line = text.count("\n", 0, match.start()) + 1
            result.append(f"{path}:{line}: {match[0]} -> {suggestion}")
    return result


@pytest.mark.parametrize("path", files())
def test_no_retired_word_is_used(path):
    result = findings(path, (ROOT / path).read_text(encoding="utf-8"))
    assert not result, "\n" + "\n".join(result)


@pytest.mark.parametrize("path", [path for path in files() if path.endswith(CODE)])
def test_files_are_short(path):
    lines = (ROOT / path).read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES, f"{path}: expected at most {MOST_LINES} lines, got {lines}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\nthe card is slow", 2),
        ("kSpoilt = 1", 1),
        ("def people_of(x):", 1),
        ("the neighbouring colours", 1),
        ("optimiser", 1),
        ("open('/home/someone/file')", 1),
        ("found = 1", 1),
        ('\n\n"""Whether it is."""', 3),
    ],
)
def test_a_retired_word_is_found_with_its_line(text, line):
    assert findings("some/file.py", text)[0].startswith(f"some/file.py:{line}: ")


@pytest.mark.parametrize(
    "text",
    ["torch.floor(x)", "rows.push_back(1)", "a data race", "cardinality", 'row["contender"]'],
)
def test_terms_of_the_field_are_allowed(text):
    assert findings("some/file.py", text) == []
