import type { Manifest } from '../file/dump-file.ts';

/** What is to be said of a dump beside its records. */
export interface ReportFacts {
  manifest?: Manifest | undefined;
  /** What the dump came to, in the words that it ended with. */
  summary?: string | undefined;
  /** With what a file of it is read. */
  reading?: { filter: string | undefined };
  /** Why not all of it is here. */
  troubles: string[];
}
