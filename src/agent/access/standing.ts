/**
 * What is known of a right. `before`: the API server cannot say now, and had said yes when it last could. `unknown`: it cannot say, and nothing is known
 * of before.
 */
export type Standing = 'yes' | 'before' | 'no' | 'unknown';

const BY_STRENGTH: readonly Standing[] = ['yes', 'before', 'no', 'unknown'];

/** Of several who may each give a right the strongest counts: what cannot be asked of one makes no other's answer uncertain. Nobody gives none. */
export function strongest(standings: readonly Standing[]): Standing {
  return BY_STRENGTH.find((one) => standings.includes(one)) ?? 'no';
}
