import { html } from './markup.ts';

/** How a page looks: light, dark and on paper. Nothing is put into it, so that the page's policy can name it by its hash. */
export const STYLE = html`<style>
:root { color-scheme: light dark; --ground: #ffffff; --raised: #f5f6f8; --edge: #d5d9e0; --text: #1c2128; --dim: #596270;
  --accent: #0b62b8; --told: #4a86c5; --good: #1a7f45; --bad: #c22f2f; --warning: #9a6700; --translated: #8038b0; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14181d; --raised: #1d232a; --edge: #39424d; --text: #e4e8ec; --dim: #9ba6b2; --accent: #6fb1f5; --told: #4f8fd1;
    --good: #57c785; --bad: #ff7b72; --warning: #e0ac3c; --translated: #cf94f4; }
}
* { box-sizing: border-box; }
html { font-size: 15px; }
body { margin: 0 auto; padding: 1.5rem; max-width: 76rem; background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--edge); font-size: 1.2rem; }
h3 { margin: 2rem 0 .5rem; font-size: 1rem; overflow-wrap: anywhere; }
p { margin: .5rem 0; }
a { color: var(--accent); }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 1rem 0; }
.when, .left-out, .none, .hint, figcaption, caption { color: var(--dim); }
.left-out, .hint, figcaption, caption { font-size: .87rem; }
caption { text-align: left; padding: .25rem 0; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 1rem 0; }
dl.facts dt { color: var(--dim); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
ul.sums { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; margin: 1rem 0; padding: 0; list-style: none; }
ul.sums li { padding: .5rem .75rem; border: 1px solid var(--edge); border-radius: 6px; background: var(--raised); color: var(--dim); font-size: .87rem; }
ul.sums b { display: block; color: var(--text); font-size: 1.35rem; font-variant-numeric: tabular-nums; }
ul.sums li.bad { color: var(--dim); font-weight: inherit; }
ul.sums li.bad b { color: var(--bad); }
ul.notices { margin: .5rem 0; padding: 0; list-style: none; }
ul.notices li { margin: .35rem 0; padding: .35rem .75rem; border-left: 4px solid var(--edge); background: var(--raised); overflow-wrap: anywhere; }
ul.notices li.warn { border-color: var(--warning); }
ul.notices li.error, ul.notices li.bad { border-color: var(--bad); color: var(--text); font-weight: inherit; }
code, .name, .address, td.text { overflow-wrap: anywhere; }
code { font: .87em ui-monospace, "DejaVu Sans Mono", monospace; }
.address { color: var(--dim); font-size: .87em; }
td .address { white-space: nowrap; }
.bad { color: var(--bad); font-weight: 600; }
.warning { color: var(--warning); }
.good { color: var(--good); }
.translated { color: var(--translated); }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .87rem; }
th, td { padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--edge); text-align: left; vertical-align: top; }
th { color: var(--dim); font-weight: 600; white-space: nowrap; }
td.text { min-width: 5rem; }
th.number, td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.time { white-space: nowrap; font-variant-numeric: tabular-nums; }
.reason { white-space: nowrap; }
.figures { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 1rem; margin-top: .75rem; }
figure { margin: 0; padding: .75rem; max-width: 100%; border: 1px solid var(--edge); border-radius: 6px; background: var(--ground); }
figure.bad-way { border-color: var(--bad); font-weight: inherit; color: inherit; }
figure:target, article:target h3 { outline: 2px solid var(--accent); outline-offset: 4px; }
figcaption { max-width: 470px; padding-bottom: .5rem; overflow-wrap: anywhere; }
svg { display: block; max-width: 100%; height: auto; }
svg text { fill: var(--text); font: 12px ui-monospace, "DejaVu Sans Mono", monospace; }
svg text.strong { font-weight: 700; }
svg text.dim, svg text.time, svg text.node-name, svg text.axis { fill: var(--dim); }
svg text.bad { fill: var(--bad); }
svg text.translated { fill: var(--translated); }
svg rect.node { fill: var(--raised); stroke: var(--edge); }
svg .track { stroke: var(--dim); stroke-width: 2; }
svg circle.hop, svg circle.note { fill: var(--ground); stroke: var(--accent); stroke-width: 2; }
svg circle.note { stroke: var(--dim); }
svg circle.end { fill: var(--accent); }
svg circle.goal { fill: var(--ground); stroke: var(--dim); stroke-width: 2; stroke-dasharray: 3 2; }
svg path.translation { fill: var(--translated); }
svg path.drop { stroke: var(--bad); stroke-width: 3; fill: none; }
svg .grid { stroke: var(--edge); }
svg .told { fill: var(--told); }
svg .error { fill: var(--warning); }
svg .unanswered { fill: var(--translated); }
svg .dropped { fill: var(--bad); }
svg .lost { fill: var(--text); }
svg .span { fill: var(--told); }
ul.key { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .5rem 0; padding: 0; list-style: none; color: var(--dim); font-size: .87rem; }
ul.key svg { display: inline-block; margin-right: .35rem; vertical-align: -1px; }
footer { margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--edge); color: var(--dim); font-size: .87rem; }
@media (max-width: 40rem) { body { padding: .75rem; } dl.facts { grid-template-columns: 1fr; gap: 0; } dl.facts dd { margin-bottom: .5rem; } }
@media print {
  :root { color-scheme: light; --ground: #ffffff; --raised: #f5f6f8; --edge: #b8bec8; --text: #000000; --dim: #444b55; --accent: #0b4f94;
    --told: #4a86c5; --good: #12602f; --bad: #b01f1f; --warning: #7d5300; --translated: #6a2a96; }
  html { font-size: 10px; }
  td.text { min-width: 0; }
  body { max-width: none; padding: 0; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  nav { display: none; }
  .wide { overflow: visible; }
  h2, h3 { break-after: avoid; }
  tr, figure, ul.sums { break-inside: avoid; }
  figure svg { width: 330px; }
}
</style>`;
