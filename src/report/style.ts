/** The style sheet of reports: no fonts, scripts or pictures from elsewhere. */
export const styleSheet = `
:root {
  color-scheme: light dark;
  --paper: #fafaf8; --card: #ffffff; --ink: #1c2024; --soft: #5d6670; --line: #e2e4e6; --accent: #1f6f9f; --mark: #fdf0cf;
}
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --card: #1c2024; --ink: #e6e8ea; --soft: #9aa4ad; --line: #30363c; --accent: #6cb8e6; --mark: #453a1c; }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2.5rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: anywhere;
}
main, header, footer { max-width: 68rem; margin-inline: auto; }
h1 { margin: 0 0 .35rem; font-size: clamp(1.5rem, 1.1rem + 1.6vw, 2.1rem); line-height: 1.2; letter-spacing: -.015em; }
h2 { margin: 2.6rem 0 .4rem; font-size: 1.25rem; line-height: 1.3; }
p { margin: .3rem 0 1rem; max-width: 52rem; }
header p { color: var(--soft); font-size: 1.05rem; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft); font-size: .875rem; }
figure { margin: 0; min-width: 0; }
figcaption, caption { color: var(--soft); font-size: .9rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; margin-top: 1rem; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); margin-top: 1rem; }
.charts .card { margin: 0; }
.charts figcaption { color: var(--ink); font-weight: 600; margin-bottom: .5rem; }
.charts svg { display: block; height: auto; margin-inline: auto; }
.pictures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(max(9.5rem, (100% - 3rem) / 4), 1fr)); margin-top: 1rem; }
.pictures figure { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .6rem; }
.pictures figcaption { padding: .5rem .15rem .1rem; color: var(--ink); }
.whole { position: relative; }
.pictures img { display: block; width: 100%; height: auto; border-radius: .25rem; }
.pictures .detail { margin-top: .5rem; image-rendering: pixelated; }
.frame { position: absolute; border: 2px solid #ffb000; box-shadow: 0 0 0 1px rgb(0 0 0 / .45); border-radius: 2px; }
.table { overflow-x: auto; }
.table:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; padding-bottom: .6rem; }
th, td { padding: .45rem .75rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-weight: 600; font-size: .9rem; }
tbody th { font-weight: 500; }
table.wrap th, table.wrap td { white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
table.wrap th:not(:last-child), table.wrap td { padding-inline: .4rem; min-width: 4.7rem; }
table.wrap th:first-child { overflow-wrap: break-word; min-width: 5.5rem; padding-left: 0; }
table.wrap td:last-child { white-space: nowrap; min-width: 0; }
tr.marked > * { background: var(--mark); font-weight: 600; }
tbody tr:last-child > * { border-bottom: 0; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: .1rem 2rem; margin: 0; }
dl > div { display: flex; justify-content: space-between; gap: 1rem; padding: .3rem 0; border-bottom: 1px solid var(--line); }
dt { color: var(--soft); white-space: nowrap; }
dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
@media print { body { padding: 0; } .card, .pictures figure { break-inside: avoid; } }
`;
