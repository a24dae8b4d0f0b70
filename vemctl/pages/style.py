"""How a page looks: dark or light as the reader's system, from a telephone to paper."""

LIGHT = {
    "ground": "#ffffff",
    "raised": "#f4f6f8",
    "ink": "#1b1f24",
    "quiet": "#545d68",
    "rule": "#cbd2d9",
    "link": "#0b5cad",
    "warn": "#8a3b00",
    "curve-1": "#0b5cad",
    "curve-2": "#a8400b",
    "curve-3": "#1a7034",
    "curve-4": "#7a3fb0",
    "curve-5": "#785600",
    "curve-6": "#a3195b",
}
DARK = {
    "ground": "#14171a",
    "raised": "#1f2429",
    "ink": "#e6e8ea",
    "quiet": "#a9b1b9",
    "rule": "#414a53",
    "link": "#7cbcff",
    "warn": "#ffb07a",
    "curve-1": "#7cbcff",
    "curve-2": "#ff9d6b",
    "curve-3": "#6fd68c",
    "curve-4": "#caa3ff",
    "curve-5": "#e3b341",
    "curve-6": "#ff94c8",
}
"""Text and curves have a contrast of at least 4.5 to `ground` and to `raised`, both times."""
NUM_CURVES = 6
DASHES = ("none", "7 3", "2 3", "9 3 2 3", "12 4", "4 2 1 2 1 2")
"""Of the curves, so that nobody needs to tell colours."""


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


_CURVES = "".join(
    f".curve-{n}{{stroke:var(--curve-{n});stroke-dasharray:{DASHES[n - 1]}}}"
    f".dot-{n}{{fill:var(--curve-{n})}}"
    f".bar-{n}{{fill:var(--curve-{n});stroke:var(--curve-{n});stroke-dasharray:{DASHES[n - 1]}}}"
    for n in range(1, NUM_CURVES + 1)
)

STYLE = f"""
:root{{color-scheme:light dark;{_variables(LIGHT)}}}
@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}
*{{box-sizing:border-box}}
html{{font:100%/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
background:var(--ground);color:var(--ink);-webkit-text-size-adjust:100%}}
body{{margin:0 auto;max-width:72rem;padding:1.5rem clamp(1rem,4vw,3rem) 4rem;
overflow-wrap:anywhere}}
h1{{font-size:clamp(1.4rem,1.1rem + 1.5vw,2rem);line-height:1.2;margin:.5rem 0}}
h2{{font-size:1.3rem;line-height:1.3;margin:2.5rem 0 .75rem;padding-top:.75rem;
border-top:1px solid var(--rule)}}
h3{{font-size:1.05rem;margin:1.5rem 0 .5rem}}
p{{margin:.5rem 0;max-width:46rem}}
a{{color:var(--link)}}
header p{{color:var(--quiet);margin:0}}
.quiet,figcaption,caption{{color:var(--quiet)}}
.skip{{position:absolute;left:-999rem}}
.skip:focus{{left:1rem;top:.5rem;background:var(--ground);padding:.5rem 1rem;z-index:2}}
:focus-visible{{outline:3px solid var(--link);outline-offset:2px}}
main:focus{{outline:none}}
nav ul{{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;margin:1rem 0 0;padding:0}}
.scroll{{overflow-x:auto;margin:.75rem 0;max-width:100%}}
table{{border-collapse:collapse;font-size:.925rem;font-variant-numeric:tabular-nums}}
caption{{text-align:left;padding:0 0 .35rem}}
th,td{{text-align:left;vertical-align:top;padding:.3rem .9rem .3rem 0;
border-bottom:1px solid var(--rule)}}
th{{font-weight:600}}
td,tbody th{{min-width:6.5rem}}
tbody .number,tbody td:empty{{min-width:0}}
tbody th{{font-weight:400;color:var(--quiet)}}
.number{{text-align:right;white-space:nowrap;overflow-wrap:normal}}
tr.marked>*{{background:var(--raised);font-weight:600;color:var(--ink)}}
dl.facts{{display:grid;grid-template-columns:minmax(7rem,14rem) minmax(0,1fr);gap:0;
font-size:.95rem;margin:.75rem 0}}
dl.facts>*{{margin:0;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--rule)}}
dt{{color:var(--quiet)}}
code{{font:.9em/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}}
pre{{background:var(--raised);padding:.75rem 1rem;overflow-x:auto;border-radius:4px;margin:.75rem 0;
white-space:pre-wrap}}
details{{margin:.75rem 0}}
summary{{cursor:pointer;color:var(--link)}}
.notes{{list-style:none;margin:1rem 0;padding:0}}
.notes li{{background:var(--raised);border-left:4px solid var(--warn);padding:.5rem .9rem;
margin:.4rem 0;max-width:60rem}}
.notes strong{{color:var(--warn)}}
figure{{margin:1rem 0}}
figcaption{{font-size:.925rem;margin-top:.35rem}}
img{{display:block;max-width:100%;height:auto;width:var(--wide,auto);background:#121212}}
img.small{{image-rendering:pixelated}}
svg{{display:block;width:100%;height:auto;max-width:34rem}}
.columns{{columns:2 25rem;column-gap:3rem;margin-top:1.5rem}}
.columns>div{{break-inside:avoid;margin-bottom:1.5rem}}
.columns h3{{margin-top:0}}
.unseen{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}
.figures{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));
gap:0 2rem;align-items:start}}
svg text{{fill:var(--ink);font:14px system-ui,sans-serif}}
svg .tick{{fill:var(--quiet);font-size:13px}}
svg .axis{{stroke:var(--quiet);fill:none}}
svg .grid{{stroke:var(--rule);stroke-width:.6;fill:none}}
svg .mark{{stroke:var(--ink);stroke-width:1;stroke-dasharray:3 3;fill:none}}
.curve{{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:butt}}
.bar{{fill-opacity:.28;stroke-width:1.2}}
{_CURVES}
.legend{{display:flex;flex-wrap:wrap;gap:.1rem 1.2rem;list-style:none;margin:.2rem 0;padding:0;
font-size:.9rem}}
.legend svg{{display:inline-block;width:2.2rem;height:.8rem;margin-right:.4rem;
vertical-align:middle}}
.panes{{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:.5rem}}
.pane{{position:relative}}
.badge{{font-size:.85rem;margin:0 0 .25rem}}
.compare .pane img{{width:100%}}
.control{{display:flex;align-items:center;gap:.6rem;margin:.35rem 0;color:var(--ink)}}
[hidden]{{display:none}}
input[type=range]{{flex:1;min-width:0;max-width:36rem;height:1.75rem;accent-color:var(--link)}}
@media screen{{
.live{{width:var(--wide);max-width:100%}}
.live .panes{{display:block;position:relative;aspect-ratio:var(--shape);cursor:ew-resize;
touch-action:pan-y;overflow:hidden;user-select:none}}
.live .pane,.live .pane img{{position:absolute;inset:0;width:100%;height:100%}}
.live .pane+.pane{{clip-path:inset(0 0 0 var(--cut,50%))}}
.live .panes::after{{content:"";position:absolute;top:0;bottom:0;left:var(--cut,50%);width:2px;
margin-left:-1px;background:#fff;box-shadow:0 0 0 1px #000}}
.live .badge{{position:absolute;z-index:1;left:.4rem;top:.4rem;margin:0;padding:0 .45rem;
color:#fff;background:#000c;border-radius:3px}}
.live .pane+.pane .badge{{left:auto;right:.4rem}}
.live.thin .badge{{display:none}}
.unpicked{{display:none}}
}}
@media (max-width:34rem){{dl.facts{{grid-template-columns:minmax(0,1fr)}}
dl.facts dt{{border:0;padding-bottom:0}}}}
@media print{{:root{{{_variables(LIGHT)}}}
body{{max-width:none;padding:0}}nav,.control,.skip{{display:none}}
figure,tr,.notes li{{break-inside:avoid}}h2,h3{{break-after:avoid}}.scroll{{overflow:visible}}}}
"""
