import type { Readable, Writable } from 'node:stream';
import type { LookUp } from '../../filter/evaluate/resolve.ts';
import type { DumpFormat } from '../output/output.ts';
import type { TextStyle } from '../render/lines/printer.ts';

export interface ReadOptions extends TextStyle {
  /** `-`: standard input. */
  path: string;
  /** The filter's words. */
  words: string[];
  /** `pcapng` and `html`: of a dump only. */
  output: DumpFormat;
  /** Packets to show before leaving. */
  count?: number | undefined;
}

export interface ReadIo {
  stdin: Readable;
  stdout: Writable & { isTTY?: boolean; columns?: number };
  stderr: Writable & { isTTY?: boolean };
  /** Aborted when the user interrupts. */
  interrupt: AbortSignal;
  env: Readonly<Record<string, string | undefined>>;
  lookUp: LookUp;
}
