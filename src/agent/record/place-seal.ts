import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { KtraceError } from '../../util/errors.ts';
import type { Places } from './record-places.ts';
import { placesOf, textOf } from './record-places.ts';

/** Where a dump goes on: behind so many lines of the block that is read next behind `before`. */
export interface DumpPlace {
  before: Places;
  /** That block, by where it ends: no line of another is passed over, where it is gone meanwhile or one of the other part comes first. */
  block: string;
  lines: number;
}

const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;
/** All have this length, so that it does not tell how large the numbers are; with what sealing adds, within the protocol's 256 characters. */
const TEXT_BYTES = 150;

/**
 * Makes of a place a text that only this node's agents can read: a place in the recording tells how much others' pods have done. The key is kept beside the
 * recording, so that a transfer goes on also behind a restart of the agent.
 */
export class PlaceSeal {
  readonly #key: Buffer;

  /** Throws nothing: where the key cannot be kept, transfers end with this agent. */
  static async open(path: string): Promise<PlaceSeal> {
    const kept = await readFile(path).catch(() => undefined);
    if (kept?.length === KEY_BYTES) return new PlaceSeal(kept);
    const key = randomBytes(KEY_BYTES);
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await writeFile(path, key, { mode: 0o600, flush: true });
    } catch {
      // A disk that fails is told of by what is recorded.
    }
    return new PlaceSeal(key);
  }

  private constructor(key: Buffer) {
    this.#key = key;
  }

  seal({ before, block, lines }: DumpPlace): string {
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#key, iv);
    const text = [textOf(before), block, lines].join(' ').padEnd(TEXT_BYTES);
    return Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64url');
  }

  /** Throws KTRACE_E_PROTOCOL where it is none of this recording's. */
  unseal(sealed: string): DumpPlace {
    try {
      const bytes = Buffer.from(sealed, 'base64url');
      const decipher = createDecipheriv('aes-256-gcm', this.#key, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
      decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
      const text = decipher.update(bytes.subarray(IV_BYTES, -TAG_BYTES), undefined, 'utf8') + decipher.final('utf8');
      const [before = '', block = '', lines] = text.split(' ');
      return { before: placesOf(before), block, lines: Number(lines) };
    } catch (cause) {
      throw new KtraceError('KTRACE_E_PROTOCOL', 'Expected a place of this recording for dump.after', { cause });
    }
  }
}
