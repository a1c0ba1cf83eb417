"""What MkDocs builds from other files: notebooks, figures, options, the layers."""

import ast
import html
import re
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PACKAGE = ROOT / "keras_initprune"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# What the README shows or links to, and the site has too.
BENCHMARK = [f"benchmarks/{n}" for n in ("benchmark.md", "peers.md", "benchmark.png")]
README_FILES = [*sorted(ROOT.glob("images/*.png")), *map(ROOT.joinpath, BENCHMARK)]
README = (ROOT / "README.md").read_text()
# Blanks at which no line is broken: those of `95 %`, `0.3 ± 0.1`, `(3 of 5)`.
TOGETHER = re.compile(
    r"(?<=\d) (?=[%±])|(?<=±) (?=\d)|(?<=\(\d) (?=of \d\))|(?<=\(\d of) (?=\d\))"
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the notebooks and the benchmarks in the navigation."""
    sections = {title: pages for entry in config.nav for title, pages in entry.items()}
    sections["Notebooks"] += [f"notebooks/{path.stem}.md" for path in NOTEBOOKS]
    sections["What it reaches"] += BENCHMARK[:2]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the README links to, and a page for every notebook."""
    for path in README_FILES:
        name = str(path.relative_to(ROOT))
        files.append(File.generated(config, name, abs_src_path=str(path)))
    for path in NOTEBOOKS:
        for name, content in notebook_files(path).items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def on_page_markdown(markdown: str, **kwargs: object) -> str:
    """Fill in what the pages leave to be made."""
    markdown = re.sub(
        '^--8<-- "README.md:(.+)"$',
        lambda found: readme_section(found[1]),
        markdown,
        flags=re.MULTILINE,
    )
    markdown = markdown.replace("<!-- notebooks -->", notebook_list())
    markdown = markdown.replace("<!-- layers -->", layer_diagram())
    markdown = markdown.replace("](../images/", "](images/")
    return re.sub(
        "<!-- options of (.+) -->", lambda found: option_table(found[1]), markdown
    )


def on_page_content(content: str, **kwargs: object) -> str:
    """Keep numbers on one line with what belongs to them: `95 %`, `0.3 ± 0.1`."""
    code_or_tag = r"(<(?:pre|code)\b.*?</(?:pre|code)>|<[^>]+>)"
    parts = re.split(code_or_tag, content, flags=re.DOTALL)
    parts[::2] = [TOGETHER.sub("\u00a0", text) for text in parts[::2]]
    return "".join(parts)


def readme_section(name: str) -> str:
    """Return a part of the README between marks, or a section by its title."""
    begin, end = (f"<!-- --8<-- [{word}:{name}] -->\n" for word in ("start", "end"))
    if begin not in README:
        begin, end = f"## {name}\n", "\n## "
    section = README.split(begin)[1].split(end)[0]
    return section.replace("](docs/", "](")


def notebook_files(path: Path) -> dict[str, str | bytes]:
    """Return a notebook as a page with the pictures that it was committed with."""
    body, resources = MarkdownExporter().from_filename(str(path))
    body = re.sub(r"\]\((output_\S+)\)", rf"]({path.stem}_\1)", body)
    body = re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", body)
    body = body.replace("](../docs/", "](../")
    pictures = resources["outputs"].items()
    return {
        f"{path.stem}.md": body,
        **{f"{path.stem}_{name}": content for name, content in pictures},
    }


def notebook_list() -> str:
    """Return a list of links to the notebooks, with what each begins with."""
    lines = []
    for path in NOTEBOOKS:
        first = nbformat.read(path, as_version=4).cells[0].source
        title, _, text = first.partition("\n")
        text = " ".join(text.split())
        lines.append(f"- [{title.lstrip('# ')}]({path.stem}.md): {text}")
    return "\n".join(lines)


def layer_diagram() -> str:
    """Return the rows of `tests/test_layers.py` as boxes, with what each file does."""
    tree = ast.parse((ROOT / "tests" / "test_layers.py").read_text())
    [rows] = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "LAYERS"
    ]
    boxes = ["".join(map(_box, row)) for row in rows]
    return f'<div class="layers">{"".join(f"<div>{row}</div>" for row in boxes)}</div>'


def _box(name: str) -> str:
    folder = PACKAGE / name
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    summary = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
    words = html.escape(" ".join(summary.split()))
    words = re.sub("`(.+?)`", r"<code>\1</code>", words)
    return f"<span><b>{name}</b>{words}</span>"


def option_table(name: str) -> str:
    """Return what a command takes, as a Markdown table."""
    import typer

    from keras_initprune.lab.cli import app

    command = typer.main.get_command(app).commands[name]
    rows = ["| option | what it is | default |", "| --- | --- | --- |"]
    for parameter in command.params:
        is_option = parameter.param_type_name == "option"
        label = parameter.opts[-1] if is_option else parameter.name.upper()
        default = _default(parameter) if is_option else "needed"
        rows.append(f"| `{label}`{{.option}} | {parameter.help} | {default} |")
    return "\n".join(rows)


def _default(parameter: object) -> str:
    value = parameter.default
    if value is None or value == [] or value is False:
        return ""
    values = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"`{values.replace(',', ', ')}`"
