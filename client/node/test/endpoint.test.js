'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const test = require('node:test');

const { entropyPath, fileInTheWay } = require('../lib/endpoint.js');

const FILE = path.join(__dirname, '..', '..', '..', 'conformance', 'paths.json');

for (const one of JSON.parse(fs.readFileSync(FILE, 'utf8')).cases) {
  test(`where the socket is: ${one.name}`, (t) => {
    const base = fs.mkdtempSync(path.join(os.tmpdir(), 'hwe-'));
    t.after(() => fs.rmSync(base, { recursive: true }));
    const placed = (text) =>
      text.replace('{tmp}', `${base}/tmp`).replace('{system}', `${base}/system`);
    for (const file of one.there.map(placed)) {
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, '');
    }
    const environment = Object.fromEntries(
      Object.entries(one.environment).map(([name, value]) => [name, placed(value)]),
    );
    assert.equal(entropyPath(environment, one.uid, `${base}/system`), placed(one.socket));
  });
}

test('what is no directory is found in the way', (t) => {
  const base = fs.mkdtempSync(path.join(os.tmpdir(), 'hwe-'));
  t.after(() => fs.rmSync(base, { recursive: true }));
  fs.writeFileSync(path.join(base, 'file'), '');
  fs.symlinkSync('file', path.join(base, 'link'));
  fs.symlinkSync('nowhere', path.join(base, 'dangling'));
  fs.symlinkSync('loop', path.join(base, 'loop'));
  for (const name of ['file', 'link', 'dangling', 'loop']) {
    const blocking = path.join(base, name);
    for (const below of ['s', 'a/s', 'a//b//s', '/s']) {
      assert.equal(fileInTheWay(`${blocking}/${below}`), blocking);
    }
  }
});

test('nothing in the way, or nobody may look: the directory itself', () => {
  for (const directory of ['/nowhere/at/all', 'nowhere/at/all', `/${'x'.repeat(300)}`]) {
    assert.equal(fileInTheWay(`${directory}/s`), directory);
  }
  assert.equal(fileInTheWay('/s'), '/');
  assert.equal(fileInTheWay('s'), '.');
});
