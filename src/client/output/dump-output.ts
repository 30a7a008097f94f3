import type { Writable } from 'node:stream';
import type { KtraceEvent } from '../../event/types.ts';
import { manyText } from '../../util/many-text.ts';
import { Tally } from '../merge/tally.ts';
import { createPrinter, printerOptions, type TextStyle } from '../render/lines/printer.ts';
import { onlyNamespace } from '../render/target-text.ts';
import type { ReportFacts } from '../report/facts.ts';
import { CaptureWriter, checkCaptureGoesTo } from './capture-writer.ts';
import { GatedOutput } from './gated-output.ts';
import { HtmlWriter } from './html-writer.ts';
import type { DumpFormat } from './output.ts';

export interface DumpOutputOptions extends TextStyle {
  /** Undefined: nothing is printed. */
  output: DumpFormat | undefined;
}

export interface DumpOutputIo {
  stdout: Writable & { isTTY?: boolean; columns?: number };
  stderr: Writable & { isTTY?: boolean };
  env: Readonly<Record<string, string | undefined>>;
}

/** How often a terminal is told how far it is. */
const PROGRESS_MS = 500;

/** Prints the records of a dump, from nodes or from a file alike, so that both print the same. */
export class DumpOutput {
  /** Printed, or written. */
  readonly shown = new Tally();
  readonly #print: ReturnType<typeof createPrinter> | undefined;
  readonly #capture: CaptureWriter | undefined;
  readonly #page: HtmlWriter | undefined;
  readonly #stdout: GatedOutput;
  readonly #stderr: DumpOutputIo['stderr'];
  /** The one namespace that the dump is of. */
  #here: string | undefined;
  #progressAtMs = 0;
  #hasProgress = false;
  #hasBegun = false;
  #hasEnded = false;

  /** Throws KTRACE_E_ARGUMENT where a capture or a page would go to a terminal. */
  constructor({ output, ...style }: DumpOutputOptions, io: DumpOutputIo) {
    const { stdout, stderr } = io;
    if (output === 'pcapng') checkCaptureGoesTo(stdout);
    this.#stdout = new GatedOutput(stdout);
    this.#stderr = stderr;
    this.#capture = output === 'pcapng' ? new CaptureWriter() : undefined;
    this.#page = output === 'html' ? new HtmlWriter(stdout) : undefined;
    const format = output === 'pcapng' || output === 'html' ? 'text' : output;
    this.#print =
      format === undefined
        ? undefined
        : createPrinter(
            format,
            printerOptions(style, io, () => this.#here),
          );
  }

  get isGone(): boolean {
    return this.#stdout.isGone;
  }

  /** What a page tells of the dump beside its records; of the other outputs only a terminal heeds what it is of. */
  describe(facts: Partial<ReportFacts>): void {
    if (facts.manifest !== undefined) this.#here = onlyNamespace(facts.manifest.targets);
    this.#page?.describe(facts);
  }

  async tell(event: KtraceEvent): Promise<void> {
    if (this.#capture !== undefined) await this.#begin();
    const isData = event.kind === 'packet' || event.kind === 'flow';
    const bytes = this.#capture?.of(event);
    this.#page?.add(event);
    const isLine = !isData || (this.#capture === undefined && this.#page === undefined);
    const line = isLine ? this.#print?.(shownOf(event)) : undefined;
    const isShown =
      this.#capture !== undefined
        ? bytes !== undefined
        : this.#page !== undefined || this.#print === undefined || line !== undefined;
    if (isShown) this.shown.note(event);
    this.#progress(event);
    if (bytes !== undefined) await this.#stdout.bytes(bytes);
    if (line?.to === 'stderr') this.#talk(`${line.text}\n`);
    else if (line !== undefined) await this.#stdout.line(line.text);
  }

  async end(): Promise<void> {
    this.#clear();
    if (!this.#hasEnded && !this.isGone) {
      this.#hasEnded = true;
      await this.#endCapture();
      for (const piece of this.#page?.end() ?? []) if (!this.isGone) await this.#stdout.bytes(piece);
    }
    await this.#stdout.end();
  }

  async #endCapture(): Promise<void> {
    if (this.#capture === undefined) return;
    await this.#begin();
    await this.#stdout.bytes(this.#capture.end());
    const without = this.#capture.withoutText();
    if (without !== undefined) this.#talk(`ktrace: ${without}\n`);
  }

  async #begin(): Promise<void> {
    if (this.#hasBegun || this.#capture === undefined) return;
    this.#hasBegun = true;
    await this.#stdout.bytes(this.#capture.begin());
  }

  #talk(text: string): void {
    this.#clear();
    this.#stderr.write(text);
  }

  /** One line that is written over, where somebody looks. */
  #progress(event: KtraceEvent): void {
    if (this.#stderr.isTTY !== true || performance.now() - this.#progressAtMs < PROGRESS_MS) return;
    this.#progressAtMs = performance.now();
    const time = event.kind === 'packet' ? event.time : event.kind === 'flow' ? event.endTime : '';
    this.#stderr.write(`\r\x1b[Kktrace: ${manyText(this.shown.records, 'record')}, at ${time.slice(0, 19)}`);
    this.#hasProgress = true;
  }

  #clear(): void {
    if (this.#hasProgress) this.#stderr.write('\r\x1b[K');
    this.#hasProgress = false;
  }
}

/** Headers are kept for filters and captures; JSON is as that of a follow. */
function shownOf(event: KtraceEvent): KtraceEvent {
  if (event.kind !== 'packet' || event.headers === undefined) return event;
  const { headers: _, ...shown } = event;
  return shown;
}
