import { chmod, type FileHandle, open } from 'node:fs/promises';
import type { Target } from '../../event/target.ts';
import type { KtraceEvent } from '../../event/types.ts';
import { checkEvents } from '../../protocol/check-event.ts';
import { encodeBlock, fileHeader, PLAIN_VERSION } from '../../store/block.ts';
import { BlockBuilder } from '../../store/block-builder.ts';
import { readBlocks } from '../../store/block-reader.ts';
import { EXIT, KtraceError, messageOf } from '../../util/errors.ts';
import { checkService, type ToldService } from '../merge/told-services.ts';

/** What a dump says of itself: once at its beginning, and with `end` once more behind its last record. */
export interface Manifest {
  v: 1;
  /** UTC. */
  made: string;
  targets: Target[];
  filter?: string;
  since: string;
  until: string;
  /** Nodes that were asked, and those of them of which nothing came. */
  nodes: string[];
  missing: string[];
  /** UDP port of the nodes' VXLAN, which filters ask the outer packets of tunnels for; a version before this one did not say it. */
  vxlanPort?: number;
  end?: { records: number; summary: string };
}

/** Writes the records of a dump, as they were told, into a file that only its owner may read. */
export class DumpFile {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #builder = new BlockBuilder('records');
  #records = 0;

  /** Throws KTRACE_E_FILE. */
  static async create(path: string, manifest: Manifest): Promise<DumpFile> {
    return guarded(path, async () => {
      const file = await open(path, 'w', 0o600);
      // One that was there already may have been open to others.
      await chmod(path, 0o600);
      await file.writev([fileHeader(PLAIN_VERSION), manifestBlock(manifest)]);
      return new DumpFile(file, path);
    });
  }

  private constructor(file: FileHandle, path: string) {
    this.#file = file;
    this.#path = path;
  }

  async add(event: KtraceEvent): Promise<void> {
    this.#records += 1;
    if (this.#builder.add(JSON.stringify(event), timeOf(event), []) === 0) {
      throw new KtraceError('KTRACE_E_FILE', `A record is too long for ${this.#path}`);
    }
    if (this.#builder.isFull) await this.#flush();
  }

  /** Services as they were, in blocks that readers of records pass over. */
  async services(all: readonly ToldService[]): Promise<void> {
    await this.#flush();
    const builder = new BlockBuilder('names');
    const flush = (): Promise<unknown> => guarded(this.#path, () => this.#file.writev([builder.take().bytes]));
    for (const service of all) {
      for (const piece of piecesOf(service)) {
        if (builder.isFull) await flush();
        builder.add(JSON.stringify(piece), 0, []);
      }
    }
    if (!builder.isEmpty) await flush();
  }

  /** The last word; without it a reader takes the file for half a dump. */
  async end(manifest: Manifest, summary: string): Promise<void> {
    await this.#flush();
    await guarded(this.#path, async () => {
      await this.#file.writev([manifestBlock({ ...manifest, end: { records: this.#records, summary } })]);
      await this.#file.sync();
    });
  }

  async close(): Promise<void> {
    await this.#file.close().catch(() => undefined);
  }

  async #flush(): Promise<void> {
    if (this.#builder.isEmpty) return;
    const { bytes } = this.#builder.take();
    await guarded(this.#path, () => this.#file.writev([bytes]));
  }
}

const HEAD = Buffer.from('KTRACE', 'latin1');

/** Does a dump of ktrace's begin so? */
export function isDumpHead(bytes: Buffer): boolean {
  return bytes.subarray(0, HEAD.length).equals(HEAD);
}

/** Is this regular file a dump of ktrace's? What cannot be opened is none; who reads it will say why. */
export async function isDumpFile(path: string): Promise<boolean> {
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return false;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD.length), 0, HEAD.length, 0);
    return isDumpHead(buffer.subarray(0, bytesRead));
  } catch {
    return false;
  } finally {
    await file.close();
  }
}

/**
 * The records of a dump, in order. `onManifest` takes what it says of itself, `onUnreadable` why a record is left out: this version cannot read it.
 * Throws as {@link linesOf} does.
 */
export async function* readDump(
  path: string,
  {
    name = path,
    onManifest,
    onUnreadable,
  }: { name?: string; onManifest?(manifest: Manifest): void; onUnreadable?(error: KtraceError): void } = {},
): AsyncGenerator<KtraceEvent> {
  for await (const value of linesOf({ path, name }, 'records', onManifest)) {
    const { readable, error } = checkEvents([value]);
    if (error !== undefined) onUnreadable?.(error);
    yield* readable;
  }
}

/** The Services that a dump tells of. Throws as {@link linesOf} does, and KTRACE_E_PROTOCOL where one is none. */
export async function* readDumpServices(path: string, name = path): AsyncGenerator<ToldService> {
  let whole: ToldService | undefined;
  for await (const value of linesOf({ path, name }, 'names')) {
    checkService(value);
    if (whole !== undefined && whole.namespace === value.namespace && whole.name === value.name) {
      whole.endpoints.push(...value.endpoints);
      continue;
    }
    if (whole !== undefined) yield whole;
    whole = value;
  }
  if (whole !== undefined) yield whole;
}

/**
 * What blocks of a type hold, line by line. What is damaged is told with its place; everything behind it is read. `onManifest` takes what the dump says
 * of itself, at its beginning and at its end.
 * @throws KtraceError KTRACE_E_FILE, KTRACE_E_DUMP_FORMAT, KTRACE_E_DUMP_NEWER; KTRACE_E_DUMP_DAMAGED and KTRACE_E_DUMP_INCOMPLETE after everything
 * that could be read was given
 */
async function* linesOf(
  { path, name }: { path: string; name: string },
  type: 'records' | 'names',
  onManifest: (manifest: Manifest) => void = () => undefined,
): AsyncGenerator<unknown> {
  const damaged: { at: number; bytes: number }[] = [];
  let isWhole = false;
  const file = await guarded(name, () => open(path, 'r'));
  try {
    const { size } = await file.stat();
    const blocks = readBlocks(file, {
      name,
      untilByte: size,
      wants: (header) => header.type === type || header.type === 'manifest',
      onDamage: (damage) => damaged.push(damage),
    });
    for await (const { header, raw } of blocks) {
      for (const line of raw.toString('utf8').split('\n')) {
        if (line === '') continue;
        const value: unknown = JSON.parse(line);
        if (header.type === 'manifest') {
          const manifest = value as Manifest;
          isWhole = manifest.end !== undefined;
          if (isManifest(manifest)) onManifest(manifest);
        } else yield value;
      }
    }
  } finally {
    await file.close();
  }
  const [first] = damaged;
  if (first !== undefined && isWhole) {
    const more = damaged.length === 1 ? '' : `, and ${damaged.length - 1} more pieces`;
    throw new KtraceError('KTRACE_E_DUMP_DAMAGED', `${name} is damaged: ${first.bytes} bytes at ${first.at}${more}`, {
      hint: 'Everything else of it was shown.',
    });
  }
  if (!isWhole) {
    const where = first === undefined ? '' : `, from byte ${first.at} on`;
    throw new KtraceError('KTRACE_E_DUMP_INCOMPLETE', `${name} is half a dump: its end is missing${where}`, {
      hint: 'Everything that is in it was shown.',
    });
  }
}

/** Nothing depends on it but what is told of the dump: one that is not understood is passed over. */
function isManifest({ made, since, until, targets, nodes, missing, vxlanPort, filter, end }: Partial<Manifest>): boolean {
  const areTexts = (value: unknown): boolean => Array.isArray(value) && value.every((item) => typeof item === 'string');
  return (
    [made, since, until, filter ?? '', end?.summary ?? ''].every((value) => typeof value === 'string') &&
    areTexts(nodes) &&
    areTexts(missing) &&
    ['undefined', 'number'].includes(typeof vxlanPort) &&
    Array.isArray(targets) &&
    targets.every((target) => areTexts(Object.values(target ?? [undefined])))
  );
}

/** So many endpoints are far from what a line takes. */
const ENDPOINTS_OF_A_LINE = 100;

function* piecesOf(service: ToldService): Generator<ToldService> {
  const { states, endpoints } = service;
  for (let at = 0; at === 0 || at < endpoints.length; at += ENDPOINTS_OF_A_LINE) {
    yield { ...service, states: at === 0 ? states : [], endpoints: endpoints.slice(at, at + ENDPOINTS_OF_A_LINE) };
  }
}

function manifestBlock(manifest: Manifest): Buffer {
  const raw = Buffer.from(`${JSON.stringify(manifest)}\n`);
  return encodeBlock({
    type: 'manifest',
    raw,
    count: 0,
    fromMs: Date.parse(manifest.since),
    toMs: Date.parse(manifest.until),
    keys: new Set(),
  });
}

function timeOf(event: KtraceEvent): number {
  const text =
    event.kind === 'packet' ? event.time : event.kind === 'flow' ? event.endTime : event.kind === 'lost' ? event.to : '';
  return Date.parse(text) || 0;
}

async function guarded<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof KtraceError) throw error;
    throw new KtraceError('KTRACE_E_FILE', `${path} cannot be read or written: ${messageOf(error)}`, {
      cause: error,
      exitCode: EXIT.usage,
    });
  }
}
