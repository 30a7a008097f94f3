import assert from 'node:assert/strict';
import { test } from 'node:test';
import { undecidedFileText, undecidedRecordsText, undecidedText } from '../../../src/client/render/snap-text.ts';

test('what a filter missed among records and in a capture file is told with how far it reads', () => {
  for (const text of [undecidedRecordsText, undecidedFileText]) assert.equal(text({ packets: 0, wantsBytes: 0 }), undefined);
  assert.match(
    undecidedRecordsText({ packets: 2, wantsBytes: 42 }) ?? '',
    /^2 packets were .* up to byte 42 from the IP header on, .*the headers alone$/,
  );
  assert.match(undecidedFileText({ packets: 1, wantsBytes: 54 }) ?? '', /^1 packet was .* up to byte 54 of the packet/);
});

test('what a filter on payload missed is told with the snap length that would have decided it, where there is one', () => {
  assert.equal(undecidedText({ packets: 0, wantsBytes: 0 }, undefined), undefined);
  assert.match(
    undecidedText({ packets: 1, wantsBytes: 42 }, undefined) ?? '',
    /^1 packet was .*; --snaplen 42 would have decided$/,
  );
  assert.match(undecidedText({ packets: 2, wantsBytes: 42 }, 40) ?? '', /^2 packets were .*; --snaplen 42 would have decided$/);
  assert.match(undecidedText({ packets: 2, wantsBytes: 9000 }, 1500) ?? '', /; more than 1500 bytes are never captured$/);
  assert.match(
    undecidedText({ packets: 2, wantsBytes: 42 }, 64) ?? '',
    /: no more could be had of them \(dropped, or on their way when the follow began\)$/,
  );
});
