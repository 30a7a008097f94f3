import { open } from 'node:fs/promises';
import { type ReadBlock, type ReadBlocksOptions, readBlocks } from './block-reader.ts';
import type { Segment } from './segment-store.ts';

/** Where a reader of segments goes on. */
export interface Place {
  segment: string;
  byte: number;
}

export interface SegmentBlock extends ReadBlock {
  segment: string;
}

/** The wanted blocks of segments, oldest first; one that was removed meanwhile is passed over. What cannot be read is told as damage. */
export async function* readSegments(
  segments: readonly Segment[],
  after: Place | undefined,
  options: Pick<ReadBlocksOptions, 'wants' | 'onDamage' | 'onRead' | 'turns'>,
): AsyncGenerator<SegmentBlock> {
  for (const { name, path, bytes } of segments) {
    if (after !== undefined && name < after.segment) continue;
    const begin = () => open(path, 'r');
    const file = await (options.turns?.take(begin) ?? begin()).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') options.onDamage({ name, at: 0, bytes });
      return undefined;
    });
    if (file === undefined) continue;
    try {
      const fromByte = name === after?.segment && after.byte > 0 ? after.byte : undefined;
      for await (const block of readBlocks(file, { ...options, name, untilByte: bytes, fromByte }))
        yield { ...block, segment: name };
    } catch {
      options.onDamage({ name, at: 0, bytes });
    } finally {
      await file.close();
    }
  }
}
