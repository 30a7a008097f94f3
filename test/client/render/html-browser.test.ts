import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { BROWSER, Browser } from './browser.ts';
import { MANIFEST, pageText, withText } from './html-page.ts';
import { RENDER_TABLE } from './render-table.ts';

const EVENTS = RENDER_TABLE.map(([, event]) => event);
const LONG = EVENTS.map((event) => withText(event, 'a-name-as-long-as-'.repeat(5), ['time', 'startTime', 'endTime', 'flags']));
const SKIP = BROWSER === undefined ? 'no Chromium or Chrome is in PATH (Debian: chromium)' : false;

/** Everything that would ask for something, or run. */
const HOSTILE = `"'><img src="http://192.0.2.1/a.png" onerror="document.title='ran'"><script src="http://192.0.2.1/b.js"></script>
<svg onload="document.title='ran'"></svg><link rel="stylesheet" href="http://192.0.2.1/c.css"><style>@import "http://192.0.2.1/d.css";</style>`;

/** Sections and drawings with no size, and text that leaves its drawing. */
const FAULTS = `(() => {
  const size = (element) => { const { width, height } = element.getBoundingClientRect(); return Math.min(width, height); };
  const seen = [...document.querySelectorAll('section, article, figure, svg, table, h1')];
  const spilt = [...document.querySelectorAll('svg.way text')].filter((text) => {
    const [own, all] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
    return own.right > all.right + 1 || own.left < all.left - 1 || own.bottom > all.bottom + 1;
  });
  return { seen: seen.length, empty: seen.filter((element) => !(size(element) > 0)).map((element) => element.outerHTML.slice(0, 80)),
    spilt: spilt.map((text) => text.textContent), overflow: document.documentElement.scrollWidth - innerWidth, title: document.title };
})()`;

interface Faults {
  seen: number;
  empty: string[];
  spilt: string[];
  overflow: number;
  title: string;
}

suite('a page in a browser', { skip: SKIP }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-page-'));
  let browser: Browser;

  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return pathToFileURL(join(folder, name)).href;
  };

  before(async () => {
    browser = await Browser.start(BROWSER ?? '');
  });
  after(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test('asks for nothing, has nothing refused, and shows each of its parts, at any width, light and dark', async () => {
    const url = write('page.html', pageText([...EVENTS, ...LONG]));
    const grounds = new Set<string>();
    for (const width of [1280, 800, 390]) {
      for (const scheme of ['light', 'dark'] as const) {
        await browser.open(url, { width, scheme });
        assert.deepEqual([browser.requests, browser.complaints], [[], []]);
        const { seen, empty, spilt, overflow } = await browser.evaluate<Faults>(FAULTS);
        assert.ok(seen > 30);
        assert.deepEqual({ empty, spilt }, { empty: [], spilt: [] });
        assert.ok(overflow <= 0, `${overflow} pixels too wide at ${width}`);
        grounds.add(await browser.evaluate<string>('getComputedStyle(document.body).backgroundColor'));
      }
    }
    assert.deepEqual([...grounds].sort(), ['rgb(20, 24, 29)', 'rgb(255, 255, 255)']);
  });

  test('is printed light, with nothing hidden but its links', async () => {
    await browser.open(write('print.html', pageText(EVENTS)), { media: 'print', scheme: 'dark', width: 800 });
    const { empty } = await browser.evaluate<Faults>(FAULTS);
    assert.deepEqual(empty, []);
    assert.equal(await browser.evaluate('getComputedStyle(document.body).color'), 'rgb(0, 0, 0)');
    assert.equal(await browser.evaluate(`getComputedStyle(document.querySelector('nav')).display`), 'none');
    assert.ok((await browser.pdf()).subarray(0, 5).equals(Buffer.from('%PDF-')));
  });

  test('runs and loads nothing that comes from outside', async () => {
    const events = EVENTS.map((event) => withText(event, HOSTILE));
    const manifest = { ...MANIFEST, filter: HOSTILE, nodes: [HOSTILE] };
    await browser.open(write('hostile.html', pageText(events, { facts: { manifest, summary: HOSTILE } })));
    assert.deepEqual([browser.requests, browser.complaints], [[], []]);
    const { title, empty } = await browser.evaluate<Faults>(FAULTS);
    assert.match(title, /^ktrace: pod default\/web/);
    assert.deepEqual(empty, []);
  });

  test('would be stopped by its policy if something got through, and the test would see it', async () => {
    const through = pageText(EVENTS).replace('<nav>', `<p style="color:red">${HOSTILE}</p><nav>`);
    await browser.open(write('through.html', through));
    assert.match(await browser.evaluate<string>('document.title'), /^ktrace: pod/);
    assert.ok(browser.complaints.some((text) => text.includes('Content Security Policy') || text.includes('kInlineViolation')));
    const open = through.replace('http-equiv="Content-Security-Policy"', 'name="none"');
    await browser.open(write('open.html', open));
    assert.equal(await browser.evaluate('document.title'), 'ran');
    assert.ok(browser.requests.includes('http://192.0.2.1/a.png'), `${browser.requests}`);
  });

  test('of no records is a page as well', async () => {
    await browser.open(write('empty.html', pageText([])));
    assert.deepEqual([browser.requests, browser.complaints], [[], []]);
    assert.deepEqual((await browser.evaluate<Faults>(FAULTS)).empty, []);
  });
});
