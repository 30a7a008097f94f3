/** How much of a dump a report holds and shows. Sums count everything; what is in no list is counted beside it. */
export interface ReportLimits {
  /** Conversations told apart at one time; of more, the one that was quiet for longest is summed up with its peers. */
  conversations: number;
  /** Rows that each table holds while records come, and that it shows. */
  heldRows: number;
  shownRows: number;
  /** Of one pair of peers. */
  shownConversations: number;
  shownWaysOfPeers: number;
  /** Different ways of packets held, and drawn. */
  heldWays: number;
  shownWays: number;
  /** Packets listed, the last ones. */
  shownPackets: number;
  /** Bars of the timeline, at least 2. */
  bars: number;
  /** Packets that may still be told again with more known of them: as many as the merging of recordings retains. */
  amendable: number;
}

export const REPORT_LIMITS: ReportLimits = {
  conversations: 20_000,
  heldRows: 2000,
  shownRows: 200,
  shownConversations: 20,
  shownWaysOfPeers: 8,
  heldWays: 2000,
  shownWays: 300,
  shownPackets: 300,
  bars: 240,
  amendable: 20_000,
};
