"""The card as one HTML page: no script, no font, no file from elsewhere, plots inside, readable in light and dark.

Takes the card's facts, which may be of an older version and lack some, and gives text. Every string of the card is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from . import gas, on_chain
from .plots import Bar, Dot, bars, scatter

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The Content-Security-Policy under which the page is whole."""

_MOST_LAYERS = 24

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:0 auto;padding:1.5rem 1rem 4rem;
background:light-dark(#fff,#16181c);color:light-dark(#1b1f24,#e3e6ea)}
h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
p{margin:.4rem 0}code{font-size:.85em;overflow-wrap:anywhere}
.warn{border-left:4px solid #d8603b;padding:.6rem 1rem;background:light-dark(#fdf0ea,#3a2219)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.7rem;margin:1.2rem 0}
.tile{border:1px solid light-dark(#d9dde2,#3a3f46);border-radius:.5rem;padding:.6rem .8rem}
.tile b{display:block;font-size:1.3rem}.tile span,.note{color:light-dark(#5a626b,#a3abb4);font-size:.875rem}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}.wide+.wide{margin-top:1rem}
td,th{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid light-dark(#e6e9ec,#2d3238);vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}svg{width:100%;min-width:30rem;height:auto}
"""

Card = Mapping[str, Any]


def page(card: Card) -> str:
    """The whole page."""
    model = card["model"]
    title = f"{model['name']} {model['version']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=note>Circuit <code>{escape(str(card['circuit']))}</code></p>",
        _warning(card),
        _tiles(card),
        _accuracy(card),
        _frontier(card.get("frontier") or ()),
        _numbers(card.get("numbers") or ()),
        _by_batch(card),
        _layers(card.get("layers") or ()),
        _table("Cost", _cost(card)),
        _table("On chain", on_chain.rows(card), note=on_chain.NOTE),
        _table("How it was made", _making(card)),
        _table(
            "Digests", [(name, str(text)) for name, text in (card.get("digests") or {}).items()], code=True
        ),
        _caveats(card.get("caveats") or ()),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _warning(card: Card) -> str:
    if card["srs"] != "insecure-local":
        return ""
    return (
        "<p class=warn><strong>Insecure SRS.</strong> It was made locally: "
        "whoever made it can forge proofs. For trials only.</p>"
    )


def _tiles(card: Card) -> str:
    fidelity, cost = card["fidelity"], card["cost"]
    agreement = fidelity["agreement_with_fp32"]
    quality = (
        (f"{fidelity['largest_error']:.3g}", "largest error against fp32")
        if agreement is None
        else (f"{agreement:.2%}", "same label as fp32")
    )
    tiles = [
        quality,
        (duration(cost["prove_ms"]), _answers(card)),
        (_bytes(cost["prove_peak_bytes"]), "memory for it"),
        (_bytes(cost["proof_bytes"]), "proof"),
        (f"{cost['verify_ms']} ms", "to verify it"),
    ]
    inside = "".join(
        f"<div class=tile><b>{escape(value)}</b><span>{escape(what)}</span></div>" for value, what in tiles
    )
    return f"<div class=tiles>{inside}</div>"


def _answers(card: Card) -> str:
    batch = card.get("batch", 1)
    return "to prove one answer" if batch == 1 else f"to prove {batch} answers at once"


def _accuracy(card: Card) -> str:
    found = card.get("accuracy")
    if not found:
        return ""
    rows = [
        (name, f"{found[key]:.2%}")
        for name, key in (
            ("fp32, true labels", "fp32"),
            ("circuit, true labels", "circuit"),
            ("circuit and fp32, same label", "agreement"),
        )
        if found[key] is not None
    ]
    rows.append(("mean error against fp32", f"{found['mean_error']:.3g}"))
    rows.append(("largest error against fp32", f"{found['largest_error']:.3g}"))
    text = _table("Accuracy", rows, note=f"Both on the same {found['samples']} samples.")
    if not found["classes"]:
        return text
    head = "<tr><th>label by fp32</th><th class=n>samples</th><th class=n>same by circuit</th></tr>"
    body = "".join(
        f"<tr><td>{escape(item['label'])}</td><td class=n>{item['samples']}</td>"
        f"<td class=n>{item['agreed'] / item['samples']:.1%}</td></tr>"
        for item in found["classes"]
    )
    return f"{text}<div class=wide><table>{head}{body}</table></div>"


def _frontier(points: Sequence[Card]) -> str:
    if not points:
        return ""
    plot = _accuracy_plot(
        points, "seconds", lambda point: f"{point['label']}: {point['seconds']:.2f} s",
        "accuracy against proving time", "seconds to prove, measured or estimated",
    )  # fmt: skip
    columns = ("rows", "seconds", "memory", "gas", "agreement", "error")
    titles = "".join(f"<th class=n>{name}</th>" for name in columns)
    head = f"<tr><th>circuit</th>{titles}</tr>"
    body = "".join(
        f"<tr><td>{'<b>chosen</b> ' if point['chosen'] else ''}{escape(point['label'])}</td>"
        f"<td class=n>{point['rows']:,}</td><td class=n>{point['seconds']:.2f}</td>"
        f"<td class=n>{_bytes(point['prove_bytes'])}</td><td class=n>{_gas(point)}</td>"
        f"<td class=n>{point['agreement']:.2%}</td>"
        f"<td class=n>{point['error']:.3g}</td></tr>"
        for point in points
    )
    return (
        "<h2>Accuracy against proving time</h2><p class=note>Circuits that were measured; the chosen one is orange.</p>"
        f"<div class=wide>{plot}</div><div class=wide><table>{head}{body}</table></div>"
    )


def _numbers(points: Sequence[Card]) -> str:
    """Of a circuit of verinfer-sc/1: how other bits would do, against what a proof's time goes by."""
    if not points:
        return ""
    plot = _accuracy_plot(
        points, "cells", lambda point: f"{point['bits']} bits: {point['cells']:,} cells",
        "accuracy against bits", "cells of the witness",
    )  # fmt: skip
    body = "".join(
        f"<tr><td class=n>{'<b>chosen</b> ' if point['chosen'] else ''}{point['bits']}</td>"
        f"<td class=n>{point['cells']:,}</td><td class=n>{point['agreement']:.2%}</td>"
        f"<td class=n>{point['error']:.3g}</td></tr>"
        for point in points
    )
    head = (
        "<tr><th class=n>bits</th><th class=n>cells</th><th class=n>agreement</th><th class=n>error</th></tr>"
    )
    return (
        "<h2>Accuracy against bits</h2><p class=note>On samples that gave no ranges; a proof's time goes with the cells, and the"
        " chosen point, the only one that was proved, is orange.</p>"
        f"<div class=wide>{plot}</div><div class=wide><table>{head}{body}</table></div>"
    )


def _accuracy_plot(
    points: Sequence[Card], against: str, named: Callable[[Card], str], title: str, across: str
) -> str:
    """A plot of how often labels agree, or, where they always do, of the largest error."""
    by_label = any(point["agreement"] < 1 for point in points)
    dots = [
        Dot(
            point[against],
            point["agreement"] * 100 if by_label else point["error"],
            f"{named(point)}, agreement {point['agreement']:.2%}, error {point['error']:.3g}",
            point["chosen"],
        )
        for point in points
    ]
    up = "same label as fp32, %" if by_label else "largest error against fp32"
    return scatter(dots, title, across, up)


def _gas(point: Card) -> str:
    return f"{point['verify_gas']:,}" if "verify_gas" in point else ""


def _by_batch(card: Card) -> str:
    prices = card.get("batch_prices") or ()
    if not prices:
        return ""
    dots = [
        Dot(
            price["batch"],
            price["seconds"],
            f"{price['batch']} samples in a proof: {price['seconds']:.3g} s for each, {_bytes(price['prove_bytes'])}",
            price["batch"] == card["batch"],
        )
        for price in prices
    ]
    plot = scatter(dots, "price of a sample", "samples in one proof", "seconds to prove, for each sample")
    body = "".join(
        f"<tr><td class=n>{price['batch']}</td><td class=n>{price['seconds']:.3g}</td>"
        f"<td class=n>{_bytes(price['prove_bytes'])}</td></tr>"
        for price in prices
    )
    head = (
        "<tr><th class=n>samples in a proof</th><th class=n>seconds for each</th><th class=n>memory</th></tr>"
    )
    return (
        "<h2>Price of a sample</h2><p class=note>By estimate; this circuit's batch is orange.</p>"
        f"<div class=wide>{plot}</div><div class=wide><table>{head}{body}</table></div>"
    )


def _layers(layers: Sequence[Card]) -> str:
    if not layers:
        return ""
    heavy = sorted(layers, key=lambda item: -int(item["cells"]))[:_MOST_LAYERS]
    shown = [item for item in layers if item in heavy]
    items = [
        Bar(f"{item['name']} · {item['operator']}", item["cells"], f"{item['cells']:,}") for item in shown
    ]
    rest = len(layers) - len(shown)
    note = f"<p class=note>{rest} smaller layers are not shown.</p>" if rest else ""
    return f"<h2>Cells per layer</h2><div class=wide>{bars(items, 'cells per layer')}</div>{note}"


def _cost(card: Card) -> list[tuple[str, str]]:
    cost, machine = card["cost"], card["machine"]
    rows = [
        *size_rows(card),
        ("setup", f"{cost['setup_ms'] / 1000:.2f} s"),
        ("witness", f"{cost['witness_ms']} ms"),
        ("prove", f"{duration(cost['prove_ms'])}, {_bytes(cost['prove_peak_bytes'])}"),
        *_estimate(cost),
        ("verify", verifying(card)),
        ("proof", f"{cost['proof_bytes']:,} B"),
        *file_rows(card),
    ]
    where = f"one proof, {machine['cores']} cores ({machine['processor']}), {_bytes(machine['memory_bytes'])} of memory"
    return [*rows, ("measured on", where)]


def _estimate(cost: Card) -> list[tuple[str, str]]:
    if "estimated_prove_seconds" not in cost:
        return []
    return [("prove, by estimate", f"{cost['estimated_prove_seconds']:.2f} s")]


def duration(milliseconds: int) -> str:
    """A measured time, with as many digits as it has."""
    return f"{milliseconds} ms" if milliseconds < 100 else f"{milliseconds / 1000:.2f} s"


def verifying(card: Card) -> str:
    """What a verification took; EZKL's needs a process."""
    return f"{card['cost']['verify_ms']} ms" + ("" if "security" in card else ", its process included")


def size_rows(card: Card) -> list[tuple[str, str]]:
    """What a circuit's size goes by, in its proof system's words."""
    if "security" not in card:
        return [("rows, k", f"{card['rows']:,}, {card['run_args']['logrows']}")]
    security = card["security"]
    queries = f"{security['queries']} queries at rate 1/{1 << security['log_blowup']}"
    level = (
        f"{security['bits']:.1f} bits, unique decoding: {queries}, {security['pow_bits']} bits of grinding"
    )
    return [
        ("bits of weights, of limbs", f"{card['bits']}, {card['limb_bits']}"),
        ("cells of the witness", f"2^{card['witness_bits']}"),
        ("weights", f"{card['weights']:,}, committed as 2^{card['weights_bits']} cells"),
        ("security", level),
    ]


def file_rows(card: Card) -> list[tuple[str, str]]:
    """The other files, and what a proof costs on chain."""
    cost = card["cost"]
    if "security" not in card:
        return [("proving key", _bytes(cost["pk_bytes"])), *_on_chain(cost)]
    files = f"{_bytes(cost['weights_bytes'])} of weights, a key proof of {_bytes(cost['key_proof_bytes'])}"
    return [("proving key", files), ("on chain", "no contract checks these proofs")]


def _on_chain(cost: Card) -> list[tuple[str, str]]:
    if "estimated_verify_gas" not in cost:
        return []
    text = gas.as_text(cost["estimated_verify_gas"], cost["estimated_contract_bytes"])
    return [("on chain, by estimate", text)]


def _making(card: Card) -> list[tuple[str, str]]:
    system = [("proof system", f"{card['proof_system']}: {card['because']}")] if "because" in card else []
    if "security" in card:
        tried = ("networks looked at", str(card["candidates_tried"]))
        return [*system, tried, ("bits of activations", ", ".join(map(str, card["widths"])))]
    args = card["run_args"]
    rewrites = [item["name"] for item in card.get("rewrites") or ()]
    return [
        *system,
        ("EZKL", str(card["ezkl"])),
        ("circuits looked at", str(card["candidates_tried"])),
        ("rewrites", ", ".join(rewrites) or "none"),
        *((("selectors", str(card["selectors"])),) if "selectors" in card else ()),
        *((name.replace("_", " "), str(value)) for name, value in args.items()),
    ]


def _table(title: str, rows: Sequence[tuple[str, str]], *, note: str = "", code: bool = False) -> str:
    if not rows:
        return ""
    cell = "<code>{}</code>" if code else "{}"
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{cell.format(escape(value))}</td></tr>" for name, value in rows
    )
    said = f"<p class=note>{escape(note)}</p>" if note else ""
    return f"<h2>{escape(title)}</h2>{said}<div class=wide><table>{body}</table></div>"


def _caveats(caveats: Sequence[str]) -> str:
    if not caveats:
        return ""
    return f"<h2>Caveats</h2><ul>{''.join(f'<li>{escape(text)}</li>' for text in caveats)}</ul>"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
