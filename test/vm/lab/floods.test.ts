import { proveLabFiles } from './files.ts';

/** What is sent to many: by itself, because some of it waits for answers that do not come. */
proveLabFiles(['kernel/counts/floods']);
