/** What `inside/recorder.ts` says, a line each. */
export interface PowerLossReport {
  /** While it writes: when, how many records the recorder was given, and how many are on disk. */
  atMs?: number;
  given?: number;
  synced?: number;
  segments?: number;
  /** What a folder has, before and after more was recorded. */
  found?: FoundRecording;
  after?: FoundRecording;
  trouble?: string;
}

export interface FoundRecording {
  /** Records of the first run, and whether they are its first ones without one missing; records of the second. */
  old: number;
  isWithoutGap: boolean;
  more: number;
  /** Pods whose names are there. */
  pods: number;
  gaps: number;
  damaged: { name: string; at: number; bytes: number }[];
  segments: { name: string; bytes: number }[];
}
