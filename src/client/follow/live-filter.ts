import { messageOf } from '../../util/errors.ts';
import { type ReadFilter, readFilter } from '../merge/follow-filter.ts';
import { pastHeadersText } from '../render/snap-text.ts';
import { escapeText } from '../render/style/escape.ts';
import { watchFilterFile } from './filter-file.ts';
import type { FollowIo, FollowOptions } from './options.ts';

/** What of the filter no packet can match, as no more is captured. */
export function pastHeaders(filter: ReadFilter | undefined, snapBytes = 0): string[] {
  return (filter?.pastHeaders ?? [])
    .filter(({ readsTo }) => readsTo > snapBytes)
    .map(({ term, readsTo }) => `"${escapeText(term)}" matches nothing: ${pastHeadersText(readsTo, snapBytes)}`);
}

/** Changes the filter when its file does; one that is not understood leaves the one before in force. */
export function followFilterFile(
  path: string,
  first: string,
  following: { setFilter(filter: ReadFilter | undefined): void },
  { stderr, lookUp }: Pick<FollowIo, 'stderr' | 'lookUp'>,
  { snapBytes, drops }: Pick<FollowOptions, 'snapBytes' | 'drops'>,
): { close(): void } {
  let isCurrent = {};
  const say = (text: string): void => void stderr.write(`ktrace: ${text}\n`);
  const refuse = (error: unknown): void => say(`the filter stays as it was: ${messageOf(error)}`);
  const change = async (text: string): Promise<void> => {
    const mine = {};
    isCurrent = mine;
    const next = await readFilter(text, lookUp, drops);
    // A name may take long to look up, and the file may be another one by then.
    if (isCurrent !== mine) return;
    following.setFilter(next);
    for (const note of pastHeaders(next, snapBytes)) say(note);
    say(next === undefined ? 'no filter from now on' : `the filter is now ${escapeText(next.text)}`);
  };
  return watchFilterFile(path, first, (text) => void change(text).catch(refuse), refuse);
}
