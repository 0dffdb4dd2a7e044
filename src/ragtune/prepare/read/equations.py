"""Word's equations as plain text in line: ``x^2``, ``a_1``, ``(a)/(b)``, ``sqrt(x)``. Mammoth leaves them out."""

from __future__ import annotations

import io
import zipfile

from lxml import etree

_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_PART = "word/document.xml"


def write_out_equations(data: bytes) -> bytes:
    """The same Word file, with text in place of the equations of its body.

    Args:
        data: a file that has passed the guards of :mod:`ragtune.prepare.read.package`.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        body = source.read(_PART)
        if b"oMath" not in body:
            return data
        tree = etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))
        for equation in list(tree.iter(f"{_M}oMath")):
            _replace(equation)
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            for part in source.infolist():
                archive.writestr(part.filename, etree.tostring(tree) if part.filename == _PART else source.read(part))
        return target.getvalue()


def _replace(equation: etree._Element) -> None:
    run = etree.Element(f"{_W}r")
    text = etree.SubElement(run, f"{_W}t")
    text.text = _linear(equation)
    text.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
    run.tail = equation.tail
    parent = equation.getparent()
    if parent is None:
        return
    parent.replace(equation, run)
    if parent.tag == f"{_M}oMathPara":  # mammoth passes over the paragraph's wrapper, too
        parent.tag = f"{_W}ins"


def _linear(element: etree._Element) -> str:
    def part(name: str) -> str:
        child = element.find(f"{_M}{name}")
        return "" if child is None else _linear(child)

    match str(element.tag).removeprefix(_M):
        case "t":
            return element.text or ""
        case "f":
            return f"({part('num')})/({part('den')})"
        case "sSup":
            return f"{part('e')}^{_grouped(part('sup'))}"
        case "sSub":
            return f"{part('e')}_{_grouped(part('sub'))}"
        case "sSubSup":
            return f"{part('e')}_{_grouped(part('sub'))}^{_grouped(part('sup'))}"
        case "rad":
            return f"root({part('deg')}, {part('e')})" if part("deg") else f"sqrt({part('e')})"
        case "nary":
            sign = element.find(f"{_M}naryPr/{_M}chr")
            symbol = "∫" if sign is None else sign.get(f"{_M}val", "")
            bounds = "".join(mark + _grouped(bound) for mark, bound in (("_", part("sub")), ("^", part("sup"))) if bound)
            return f"{symbol}{bounds} {part('e')}"
        case "d":
            return f"({', '.join(_linear(child) for child in element.findall(f'{_M}e'))})"
        case _:
            return "".join(_linear(child) for child in element if isinstance(child.tag, str))


def _grouped(text: str) -> str:
    return text if len(text) <= 1 else f"({text})"
