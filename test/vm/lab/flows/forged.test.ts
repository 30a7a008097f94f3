import { proveLabFiles } from '../files.ts';

/** What it counts where a pod sends under another one's address: waited for until the counts are told. */
proveLabFiles(['kernel/counts/forged']);
