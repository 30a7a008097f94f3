import type { PacketEvent } from '../../event/types.ts';
import { FileFilter } from '../../filter/evaluate/file-filter.ts';
import { resolveNames } from '../../filter/evaluate/resolve.ts';
import { parseFilter } from '../../filter/language/parse.ts';
import type { NodeView } from '../../flow/open-packet.ts';
import { lonePacket, packetEvent } from '../../flow/packet-event.ts';
import { readCapture } from '../../store/capture/capture-file.ts';
import type { CapturedPacket } from '../../store/capture/captured-packet.ts';
import { dissect } from '../../store/capture/dissect.ts';
import type { FileReader } from '../../store/capture/file-reader.ts';
import { payloadOf } from '../../store/capture/link-payload.ts';
import { badArgument, EXIT } from '../../util/errors.ts';
import { GatedOutput } from '../output/gated-output.ts';
import { createPrinter, printerOptions } from '../render/lines/printer.ts';
import { undecidedFileText } from '../render/snap-text.ts';
import { Initiators } from './initiators.ts';
import { readDumpFile } from './read-dump.ts';
import type { ReadIo, ReadOptions } from './read-options.ts';
import { openSource } from './read-source.ts';

/** How often a terminal is told how far it is, ms. */
const PROGRESS_MS = 1000;

/**
 * Prints what a dump holds, or the IP packets of a capture file that a filter takes, as tcpdump would choose them. Gives the exit code; throws KtraceError, after
 * everything that could be read was printed.
 */
export async function runRead(options: ReadOptions, io: ReadIo): Promise<number> {
  const source = await openSource(options.path, io.stdin, io.interrupt);
  try {
    if (source.dump !== undefined) return await readDumpFile({ ...options, ...source.dump }, io);
    return await readPackets(options, io, source.pipe);
  } finally {
    await source.close();
  }
}

async function readPackets(options: ReadOptions, io: ReadIo, pipe: FileReader | undefined): Promise<number> {
  const { output: format } = options;
  if (format === 'pcapng' || format === 'html') throw badArgument(`-o ${format}`, 'a dump of ktrace to read', options.path);
  const text = options.words.join(' ');
  const parsed = parseFilter(text, 'file');
  const expression = parsed === undefined ? undefined : await resolveNames(parsed, io.lookUp);
  const filter = new FileFilter(expression, (packet) => payloadOf(packet)?.bytes);
  const counts = { read: 0, shown: 0, other: 0 };
  const print = createPrinter(format, printerOptions(options, io));
  const output = new GatedOutput(io.stdout);
  const progress = startProgress(io, counts);
  const initiators = new Initiators();
  try {
    for await (const packet of readCapture(options.path, pipe)) {
      if (io.interrupt.aborted || output.isGone) break;
      counts.read += 1;
      const event = filter.takes(packet) ? eventOf(packet, counts.read, initiators) : undefined;
      if (event === 'other') counts.other += 1;
      else if (event !== undefined) {
        counts.shown += 1;
        await output.line(print(event)?.text ?? '');
      }
      if (counts.shown === options.count) break;
    }
  } finally {
    progress.stop();
    await output.end();
    if (counts.read > 0) io.stderr.write(`ktrace: ${summaryOf(counts)}\n`);
    const missed = undecidedFileText(filter.shortages);
    if (missed !== undefined) io.stderr.write(`ktrace: ${missed}\n`);
  }
  return io.interrupt.aborted ? EXIT.interrupted : EXIT.ok;
}

function summaryOf({ read, shown, other }: { read: number; shown: number; other: number }): string {
  return `${read} packets read, ${shown} shown${other === 0 ? '' : `, ${other} that the filter takes are not IP`}`;
}

function eventOf(packet: CapturedPacket, number: number, initiators: Initiators): PacketEvent | 'other' {
  const dissected = dissect(packet);
  if (dissected === undefined) return 'other';
  const { sighting, isCut } = dissected;
  const event = packetEvent(lonePacket(sighting, String(number)), fileView(packet.interfaceName));
  event.nodes = [];
  if (packet.interfaceName === undefined) event.hops = [];
  if (isCut) event.cut = true;
  event.dir = initiators.direction(event);
  return event;
}

/** A file knows no node, and of its interfaces at most the names. */
function fileView(interfaceName: string | undefined): NodeView {
  return {
    node: '',
    interfaceName: () => interfaceName ?? '',
    interfaceKind: () => undefined,
    podBehind: () => undefined,
    isOwnAddress: () => false,
    netnsOf: () => undefined,
    interfaceOfAddress: () => undefined,
    realtimeOffsetNs: () => 0n,
    dropReasons: new Map(),
    knowsReceivers: false,
    symbol: (address) => `0x${address.toString(16)}`,
  };
}

function startProgress({ stderr }: ReadIo, counts: { read: number; shown: number }): { stop(): void } {
  if (stderr.isTTY !== true) return { stop: () => undefined };
  const timer = setInterval(() => stderr.write(`\r${counts.read} packets read, ${counts.shown} shown`), PROGRESS_MS);
  let isStopped = false;
  return {
    stop: () => {
      if (!isStopped) stderr.write('\r\x1b[K');
      isStopped = true;
      clearInterval(timer);
    },
  };
}
