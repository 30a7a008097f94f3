import type { Writable } from 'node:stream';
import type { KtraceEvent } from '../../event/types.ts';
import { Tally } from '../merge/tally.ts';
import { createPrinter, printerOptions, type TextIo, type TextStyle } from '../render/lines/printer.ts';
import { eventText } from '../render/lines/text.ts';
import type { Palette } from '../render/style/colors.ts';
import { CaptureWriter, checkCaptureGoesTo } from './capture-writer.ts';
import { Output, type OutputFormat } from './output.ts';
import { SameNotices } from './same-notices.ts';

/** What a follow prints, as it comes: text and JSON by the line, a capture by the packet, so that who reads a pipe sees each at once. */
export class FollowOutput {
  readonly shown = new Tally();
  readonly #stderr: Writable;
  readonly #output: Output;
  readonly #lineOf: ReturnType<typeof createPrinter>;
  /** For people; a program reads who says what. */
  readonly #same: SameNotices | undefined;
  readonly #talk: Palette;
  readonly #capture: CaptureWriter | undefined;
  #isGone = false;

  /**
   * Begins a capture. Throws KTRACE_E_ARGUMENT where one would go to a terminal. `here`: the one namespace that is followed; `handler` is that of
   * {@link Output}.
   */
  constructor(
    { output, here, ...style }: TextStyle & { output: OutputFormat; here?: string | undefined },
    io: TextIo & { stdout: Writable; stderr: Writable },
    handler: ConstructorParameters<typeof Output>[1],
  ) {
    const { stdout, stderr } = io;
    if (output === 'pcapng') checkCaptureGoesTo(stdout);
    this.#stderr = stderr;
    this.#output = new Output(stdout, {
      ...handler,
      gone: (error) => {
        this.#isGone = true;
        handler.gone(error);
      },
    });
    const printing = printerOptions(style, io, () => here);
    this.#talk = printing.stderrPaint;
    this.#lineOf = createPrinter(output === 'pcapng' ? 'text' : output, printing);
    this.#same = output === 'json' ? undefined : new SameNotices((notice) => this.#print(notice));
    if (output !== 'pcapng') return;
    this.#capture = new CaptureWriter();
    this.#output.bytes(this.#capture.begin());
  }

  /** Whether the record is among the data now; what is told of the tracing itself goes to stderr in text, and beside a capture. */
  tell(event: KtraceEvent): boolean {
    const isShown = this.#tell(event);
    if (isShown) this.shown.note(event);
    return isShown;
  }

  #tell(event: KtraceEvent): boolean {
    if (this.#same !== undefined && event.kind === 'notice') {
      if (event.node !== undefined) {
        this.#same.add({ ...event, node: event.node });
        return true;
      }
      this.#same.flush();
    }
    return this.#print(event);
  }

  #print(event: KtraceEvent): boolean {
    const bytes = this.#capture?.of(event);
    if (bytes !== undefined) this.#output.bytes(bytes);
    if (this.#capture !== undefined && (event.kind === 'packet' || event.kind === 'flow')) return bytes !== undefined;
    const line = this.#lineOf(event);
    // Who keeps the records in a file wants to see at the terminal that it has begun.
    if (line?.to === 'stdout' && event.kind === 'notice' && event.following !== undefined)
      this.#stderr.write(`ktrace: ${eventText(event, 'text', this.#talk)}\n`);
    if (line?.to === 'stdout') this.#output.line(line.text);
    else if (line !== undefined) this.#stderr.write(`${line.text}\n`);
    return line !== undefined;
  }

  /** Writes what stands at a capture's end, and waits until all has been handed over. */
  async end(): Promise<void> {
    this.#same?.flush();
    if (this.#capture !== undefined && !this.#isGone) {
      this.#output.bytes(this.#capture.end());
      const without = this.#capture.withoutText();
      if (without !== undefined) this.#stderr.write(`ktrace: ${without}\n`);
    }
    await this.#output.end();
  }
}
