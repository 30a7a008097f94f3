import { badArgument } from '../../util/errors.ts';

/** What an agent reads as one number (util/settings.ts). */
const MOST = 999_999_999_999_999;
const UNITS = { '': 1, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, k: 1e3, M: 1e6, G: 1e9, T: 1e12 } as const;

/** A number of bytes as Kubernetes writes it (512Mi, 2Gi, 1G, 1000000), at least `least`. Throws KTRACE_E_ARGUMENT. */
export function parseBytes(flag: string, text: string, least: number): number {
  const [, digits = '', unit = ''] = /^(\d{1,15})([KMGT]i|[kMGT])?$/.exec(text) ?? [];
  const bytes = Number(digits) * UNITS[unit as keyof typeof UNITS];
  if (digits !== '' && bytes >= least && bytes <= MOST) return bytes;
  throw badArgument(flag, `bytes as 512Mi or 2Gi, at least ${least / UNITS.Mi}Mi`, text);
}
