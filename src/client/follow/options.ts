import type { Writable } from 'node:stream';
import type { LookUp } from '../../filter/evaluate/resolve.ts';
import type { AskedWords } from '../../filter/targets.ts';
import type { KubeOptions } from '../cluster/kubeconfig.ts';
import type { OutputFormat } from '../output/output.ts';
import type { TextStyle } from '../render/lines/printer.ts';

export interface FollowOptions extends KubeOptions, TextStyle {
  /** What the command line asks for. */
  asked: AskedWords;
  /** A file that the filter is read from, and again when it changes. */
  filterFile?: string | undefined;
  ktraceNamespace: string;
  output: OutputFormat;
  packets: boolean;
  /** Of these, what was dropped. */
  drops?: boolean;
  /** So many bytes of each packet are captured, from the IP header on, where its headers are fewer. */
  snapBytes?: number | undefined;
  /** Packets to show before leaving. */
  count?: number | undefined;
  forMs?: number | undefined;
  strict: boolean;
  /** A file that is there as long as it follows. */
  readyFile?: string | undefined;
  /** By an agent of its own on this node, instead of the cluster's. */
  local?: boolean;
}

export interface FollowIo {
  stdout: Writable & { isTTY?: boolean; columns?: number };
  stderr: Writable & { isTTY?: boolean };
  /** Aborted when the user interrupts. */
  interrupt: AbortSignal;
  env: Readonly<Record<string, string | undefined>>;
  findLab(): { name: string; kubeconfig: string } | undefined;
  /** The command that runs ktrace on this machine. */
  command: readonly string[];
  /** Addresses of hosts that a filter names. */
  lookUp: LookUp;
  /** This client's. */
  version: string;
}
