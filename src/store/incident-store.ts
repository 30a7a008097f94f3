import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Incident } from '../event/incident.ts';
import type { Turns } from '../util/turns.ts';
import { encodeBlock, fileHeader } from './block.ts';
import { type ReadBlock, readBlocks } from './block-reader.ts';
import { syncFolder } from './sync-folder.ts';

/** A damaged piece of a file. */
interface Damage {
  name: string;
  at: number;
  bytes: number;
}

/** What is kept with an incident's records. */
export interface IncidentEntry {
  incident: Incident;
  /** Where in the recording its records go on, as who copies them wants it; undefined: from the beginning. */
  places: string | undefined;
}

interface Kept extends IncidentEntry {
  name: string;
  bytes: number;
}

/** Who shares the threads that files are written and read by. */
export interface DiskTurns {
  writing?: Turns;
  reading?: Turns;
}

function inTurn<T>(turns: Turns | undefined, what: () => Promise<T>): Promise<T> {
  return turns === undefined ? what() : turns.take(what);
}

const NAME = /^(\d{14})-([0-9a-f]{8})\.kinc$/;

/** So many incidents are kept, and of one pod: a pod that crashes again and again must not push out what happened to others. */
export const MOST_INCIDENTS = 20;
const MOST_OF_A_POD = 4;
/** For a file's header and its manifest, which has the pod's labels. */
const MANIFEST_BYTES = 4096;

/**
 * Incidents in a folder, a file each, in the form of a dump: a manifest and blocks of records. A file is written whole beside the one it replaces, so that
 * one is there after a crash as it was before or as it is now. Oldest out first.
 */
export class IncidentStore {
  /** Files of which it cannot be told what they are. */
  readonly damaged: Damage[] = [];
  /** What one incident's records may take, so that all that may be kept fit into the budget. */
  readonly mostBytes: number;
  readonly #directory: string;
  readonly #turns: DiskTurns;
  #kept: Kept[] = [];

  /** Reads what is there already; throws nothing: a folder that cannot be read is found out when it is written to. */
  static async open(directory: string, budgetBytes: number, turns: DiskTurns = {}): Promise<IncidentStore> {
    const store = new IncidentStore(directory, budgetBytes, turns);
    await inTurn(turns.reading, () => store.#list());
    return store;
  }

  private constructor(directory: string, budgetBytes: number, turns: DiskTurns) {
    this.#directory = directory;
    this.#turns = turns;
    this.mostBytes = Math.max(0, Math.floor(budgetBytes / MOST_INCIDENTS) - MANIFEST_BYTES);
  }

  /** Oldest first. */
  list(): IncidentEntry[] {
    return this.#kept.map(({ incident, places }) => ({ incident, places }));
  }

  find(id: string): Incident | undefined {
    return this.#kept.find(({ incident }) => incident.id === id)?.incident;
  }

  get totalBytes(): number {
    return this.#kept.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Writes an incident, on disk when it resolves; in the place of the one of this id. Throws what the disk says. */
  async put(entry: IncidentEntry, blocks: readonly Buffer[]): Promise<void> {
    const { incident } = entry;
    const name = `${String(Math.floor(incident.atMs)).padStart(14, '0')}-${incident.id}.kinc`;
    const content = [fileHeader(), manifestBlock(entry), ...blocks];
    await inTurn(this.#turns.writing, async () => {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      const path = join(this.#directory, name);
      await writeWhole(`${path}.${randomBytes(4).toString('hex')}.tmp`, path, content);
    });
    const bytes = content.reduce((sum, { length }) => sum + length, 0);
    this.#kept = this.#kept.filter((one) => one.incident.id !== incident.id);
    this.#kept.push({ ...entry, name, bytes });
    this.#kept.sort((a, b) => (a.name < b.name ? -1 : 1));
    await inTurn(this.#turns.writing, async () => {
      await this.#prune(incident);
      await syncFolder(this.#directory);
    });
  }

  /** The blocks of an incident's records behind a place in its file; none where it is gone. */
  async *read(id: string, fromByte: number | undefined, onDamage: (damage: Damage) => void): AsyncGenerator<ReadBlock> {
    const kept = this.#kept.find(({ incident }) => incident.id === id);
    if (kept === undefined) return;
    const { name, bytes } = kept;
    const { reading: turns } = this.#turns;
    const file = await inTurn(turns, () => open(join(this.#directory, name), 'r')).catch(() => undefined);
    if (file === undefined) return onDamage({ name, at: 0, bytes });
    try {
      const options = { turns, name, fromByte, untilByte: bytes, wants: isOfRecords, onDamage };
      for await (const block of readBlocks(file, options)) yield block;
    } catch {
      onDamage({ name, at: 0, bytes });
    } finally {
      await file.close();
    }
  }

  /** An incident's blocks as they stand in its file, for it to be written anew with more; what is damaged is left out. */
  async blocksOf(id: string): Promise<Buffer[]> {
    const kept = this.#kept.find(({ incident }) => incident.id === id);
    if (kept === undefined) return [];
    const content = await inTurn(this.#turns.reading, () => readFile(join(this.#directory, kept.name)));
    const blocks: Buffer[] = [];
    for await (const { at, endsAt } of this.read(id, undefined, (damage) => this.damaged.push(damage))) {
      blocks.push(content.subarray(at, endsAt));
    }
    return blocks;
  }

  async #prune({ pod }: Incident): Promise<void> {
    const ofPod = this.#kept.filter(({ incident }) => incident.pod.uid === pod.uid);
    const over = ofPod.slice(0, Math.max(0, ofPod.length - MOST_OF_A_POD));
    if (over.length === 0) over.push(...this.#kept.slice(0, Math.max(0, this.#kept.length - MOST_INCIDENTS)));
    for (const one of over) {
      await rm(join(this.#directory, one.name), { force: true });
      this.#kept = this.#kept.filter((kept) => kept !== one);
    }
  }

  async #list(): Promise<void> {
    const names = await readdir(this.#directory).catch(() => []);
    for (const name of names.sort()) {
      const path = join(this.#directory, name);
      // What was being written when the agent was killed.
      if (name.endsWith('.tmp')) await rm(path, { force: true }).catch(() => undefined);
      if (!NAME.test(name)) continue;
      const found = await readEntry(path, name);
      if ('incident' in found) this.#kept.push(found);
      else this.damaged.push(found);
    }
  }
}

function isOfRecords({ type }: ReadBlock['header']): boolean {
  return type === 'records';
}

function manifestBlock(entry: IncidentEntry): Buffer {
  const { atMs } = entry.incident;
  const raw = Buffer.from(`${JSON.stringify(entry)}\n`);
  return encodeBlock({ type: 'manifest', raw, count: 1, fromMs: atMs, toMs: atMs, keys: new Set() });
}

/** What a file is of, by its manifest. */
async function readEntry(path: string, name: string): Promise<Kept | Damage> {
  const file = await open(path, 'r').catch(() => undefined);
  let bytes = 0;
  try {
    bytes = (await file?.stat())?.size ?? 0;
    if (file === undefined) return { name, at: 0, bytes };
    const options = { name, untilByte: bytes, wants: isManifest, onDamage: () => undefined };
    for await (const { raw } of readBlocks(file, options)) {
      const { incident, places } = JSON.parse(raw.toString('utf8')) as IncidentEntry;
      return { incident, places, name, bytes };
    }
  } catch {
    // It is no such file, or a newer ktrace wrote it.
  } finally {
    await file?.close();
  }
  return { name, at: 0, bytes };
}

function isManifest({ type }: ReadBlock['header']): boolean {
  return type === 'manifest';
}

async function writeWhole(beside: string, path: string, content: Buffer[]): Promise<void> {
  try {
    const file = await open(beside, 'wx', 0o600);
    try {
      const wanted = content.reduce((sum, { length }) => sum + length, 0);
      const { bytesWritten } = await file.writev(content);
      if (bytesWritten < wanted) throw new Error(`ENOSPC: ${bytesWritten} of ${wanted} bytes were written`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true }).catch(() => undefined);
    throw error;
  }
}
