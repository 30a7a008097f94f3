import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

/** The first browser of this machine that can be asked by the DevTools protocol; undefined: there is none. */
export const BROWSER = ['chromium', 'chromium-browser', 'google-chrome']
  .flatMap((name) => (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, name)))
  .find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

interface Message {
  id?: number;
  sessionId?: string;
  method?: string;
  params?: Record<string, unknown>;
  result?: Record<string, unknown>;
  error?: { message: string };
}

/** A headless browser without a network, with one page. */
export class Browser {
  /** What was asked for beside the page itself, and what the browser had to say of it: refused by its policy, broken, logged. */
  requests: string[] = [];
  complaints: string[] = [];
  readonly #child: ChildProcess;
  readonly #input: Writable;
  readonly #profile: string;
  readonly #waiting = new Map<number, PromiseWithResolvers<Record<string, unknown>>>();
  #session: string | undefined;
  #last = 0;
  #loaded = Promise.withResolvers<void>();

  static async start(path: string): Promise<Browser> {
    const browser = new Browser(path);
    const { targetId } = await browser.#send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await browser.#send('Target.attachToTarget', { targetId, flatten: true });
    browser.#session = sessionId as string;
    for (const domain of ['Page', 'Network', 'Log', 'Runtime', 'Audits']) await browser.#send(`${domain}.enable`, {});
    return browser;
  }

  private constructor(path: string) {
    this.#profile = mkdtempSync(join(tmpdir(), 'ktrace-browser-'));
    // Root has no sandbox to give; names resolve to nothing, and addresses are behind a proxy that is not there.
    const flags = [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--remote-debugging-pipe',
      '--hide-scrollbars',
    ];
    const cut = ['--host-resolver-rules=MAP * ~NOTFOUND', '--proxy-server=127.0.0.1:9', '--disable-background-networking'];
    this.#child = spawn(path, [...flags, ...cut, `--user-data-dir=${this.#profile}`, 'about:blank'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    });
    this.#input = this.#child.stdio[3] as Writable;
    let text = '';
    (this.#child.stdio[4] as Readable).setEncoding('utf8').on('data', (piece: string) => {
      const messages = (text + piece).split('\0');
      text = messages.pop() ?? '';
      for (const message of messages) this.#take(JSON.parse(message) as Message);
    });
    this.#child.on('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('The browser ended'));
    });
  }

  /** Loads a page and waits until it is there. */
  async open(url: string, look: { scheme?: 'light' | 'dark'; media?: 'print' | 'screen'; width?: number } = {}): Promise<void> {
    const { scheme = 'light', media = 'screen', width = 1280 } = look;
    this.requests = [];
    this.complaints = [];
    this.#loaded = Promise.withResolvers();
    await this.#send('Emulation.setEmulatedMedia', { media, features: [{ name: 'prefers-color-scheme', value: scheme }] });
    await this.#send('Emulation.setDeviceMetricsOverride', { width, height: 900, deviceScaleFactor: 1, mobile: false });
    await this.#send('Page.navigate', { url });
    await this.#loaded.promise;
    this.requests = this.requests.filter((one) => one !== url);
  }

  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.#send('Runtime.evaluate', { expression, returnByValue: true });
    if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails));
    return (result as { value: T }).value;
  }

  /** PNG of a part of the page. */
  async screenshot(clip: { x: number; y: number; width: number; height: number }): Promise<Buffer> {
    const { data } = await this.#send('Page.captureScreenshot', { clip: { ...clip, scale: 1 }, captureBeyondViewport: true });
    return Buffer.from(data as string, 'base64');
  }

  async pdf(): Promise<Buffer> {
    const { data } = await this.#send('Page.printToPDF', { printBackground: false, paperWidth: 8.27, paperHeight: 11.69 });
    return Buffer.from(data as string, 'base64');
  }

  async close(): Promise<void> {
    const ended = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
    if (this.#child.exitCode === null) this.#child.kill('SIGKILL');
    await ended;
    // Its helpers end a moment later, and write until then.
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }

  #send(method: string, params: object): Promise<Record<string, unknown>> {
    const id = ++this.#last;
    const waiting = Promise.withResolvers<Record<string, unknown>>();
    this.#waiting.set(id, waiting);
    this.#input.write(`${JSON.stringify({ id, method, params, sessionId: this.#session })}\0`);
    return waiting.promise;
  }

  #take({ id, method, params = {}, result, error }: Message): void {
    const waiting = this.#waiting.get(id ?? 0);
    if (waiting !== undefined) {
      this.#waiting.delete(id ?? 0);
      if (error === undefined) waiting.resolve(result ?? {});
      else waiting.reject(new Error(error.message));
    }
    if (method === 'Network.requestWillBeSent') this.requests.push((params['request'] as { url: string }).url);
    if (method === 'Page.loadEventFired') this.#loaded.resolve();
    const complaining = ['Log.entryAdded', 'Runtime.consoleAPICalled', 'Runtime.exceptionThrown', 'Audits.issueAdded'];
    if (method !== undefined && complaining.includes(method)) this.complaints.push(JSON.stringify(params));
  }
}
