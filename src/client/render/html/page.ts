import { createHash } from 'node:crypto';
import type { ReportFacts } from '../../report/facts.ts';
import type { Report } from '../../report/report.ts';
import { targetText } from '../target-text.ts';
import { timelineMarkup } from './chart.ts';
import { html, type Markup } from './markup.ts';
import { flowArticles, peersMarkup } from './peer-flows.ts';
import { STYLE } from './style.ts';
import { missingMarkup, summaryMarkup } from './summary.ts';
import { packetsMarkup, translationsMarkup, troublesMarkup } from './tables.ts';
import { clockFor, momentText } from './words.ts';

const STYLE_HASH = createHash('sha256').update(STYLE.text.slice('<style>'.length, -'</style>'.length)).digest('base64');

/** The page's one style, and nothing else: no script, no image, no font, no form, no request. */
const POLICY = ["default-src 'none'", `style-src 'sha256-${STYLE_HASH}'`, "base-uri 'none'", "form-action 'none'"].join('; ');

const SECTIONS: [string, string][] = [
  ['summary', 'Summary'],
  ['missing', 'What is missing'],
  ['timeline', 'Timeline'],
  ['peers', 'Flows by peer'],
  ['troubles', 'Drops and ICMP errors'],
  ['translations', 'Translations'],
  ['paths', 'Conversations and ways'],
  ['packets', 'The last packets'],
];

/** A report as one HTML page that needs nothing beside itself, piece by piece. The report has ended. */
export function* pageOf(report: Report, facts: ReportFacts): Generator<string> {
  yield headMarkup(report, facts).text;
  const clock = clockFor(report.first, report.last);
  yield summaryMarkup(report, facts).text;
  yield missingMarkup(report, facts).text;
  yield timelineMarkup(report).text;
  yield peersMarkup(report).text;
  yield troublesMarkup(report, clock).text;
  yield translationsMarkup(report, clock).text;
  for (const article of flowArticles(report, clock)) yield article.text;
  yield packetsMarkup(report, clock).text;
  yield html`<footer>Made by ktrace. Times are UTC. The page holds names and addresses of the cluster, and no payload; it loads nothing and runs nothing.</footer>
</body></html>
`.text;
}

function headMarkup({ first, last }: Report, { manifest }: ReportFacts): Markup {
  const whose = manifest === undefined ? 'packets' : manifest.targets.map(targetText).join(', ');
  const [from, to] = [manifest?.since ?? first, manifest?.until ?? last];
  const when = from === undefined || to === undefined ? 'no records' : `${momentText(from)} to ${momentText(to)}`;
  return html`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>ktrace: ${whose}, ${when}</title>
${STYLE}</head>
<body><header><h1>What happened to ${whose}</h1><p class="when">${when}</p></header>
<nav>${SECTIONS.map(([id, name]) => html`<a href="#${id}">${name}</a>`)}</nav>
`;
}
