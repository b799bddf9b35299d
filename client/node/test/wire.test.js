'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');

const { HEADER, OP, REQUEST, putRequest } = require('../lib/wire.js');

const FILE = path.join(__dirname, '..', '..', '..', 'conformance', 'requests.json');

for (const one of JSON.parse(fs.readFileSync(FILE, 'utf8')).cases) {
  test(`a request is its bytes: ${one.name}`, () => {
    const flags =
      (one.dont_block ? REQUEST.DONT_BLOCK : 0) |
      (one.prediction_resistance ? REQUEST.PREDICTION_RESISTANCE : 0);
    const out = Buffer.alloc(HEADER);
    putRequest(out, 0, OP[one.op], flags, one.tag, one.length);
    assert.equal(out.toString('hex'), one.bytes);
  });
}
