import { createReadStream } from 'node:fs';
import { EXIT, KtraceError, messageOf } from '../../util/errors.ts';
import type { CapturedPacket } from './captured-packet.ts';
import { FileReader } from './file-reader.ts';
import { isPcap, readPcap } from './pcap.ts';
import { isPcapng, readPcapng } from './pcapng.ts';

/**
 * The packets of a pcap or pcapng file, in order; `pipe` is read instead where it is given. Throws KTRACE_E_FILE when it cannot be read, KTRACE_E_CAPTURE_FORMAT when it is
 * neither, KTRACE_E_CAPTURE_DAMAGED at the place where it is, after everything before was given.
 */
export async function* readCapture(path: string, pipe?: FileReader): AsyncGenerator<CapturedPacket> {
  const reader = pipe ?? new FileReader(createReadStream(path, { highWaterMark: 1024 * 1024 }));
  try {
    const magic = await reader.take(4);
    if (isPcap(magic)) yield* readPcap(reader, magic);
    else if (isPcapng(magic)) yield* readPcapng(reader, magic);
    else throw unknownFormat(path, magic);
  } catch (error) {
    if (error instanceof KtraceError) throw error;
    throw new KtraceError('KTRACE_E_FILE', `${path} cannot be read: ${messageOf(error)}`, { cause: error, exitCode: EXIT.usage });
  } finally {
    await reader.close();
  }
}

function unknownFormat(path: string, magic: Buffer): KtraceError {
  const got = magic.length === 0 ? 'an empty file' : `a file that begins with ${magic.toString('hex')}`;
  return new KtraceError(
    'KTRACE_E_CAPTURE_FORMAT',
    `Expected a dump of ktrace, a pcap or a pcapng file for ${path}, got ${got}`,
    {
      hint: 'ktrace dump -w and tcpdump -w write such files; one that is compressed has to be unpacked first.',
      exitCode: EXIT.usage,
    },
  );
}
