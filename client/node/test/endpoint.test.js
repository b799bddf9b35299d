'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const test = require('node:test');

const { entropyPath, fileInTheWay } = require('../lib/endpoint.js');

test('the variable decides, for any user', () => {
  const environment = { HWENTROPY_RUNTIME_DIR: '/some/where', XDG_RUNTIME_DIR: '/run/user/5' };
  assert.equal(entropyPath(environment, 0), '/some/where/entropy.sock');
  assert.equal(entropyPath(environment, 5), '/some/where/entropy.sock');
});

test('root has the system directory', () => {
  assert.equal(entropyPath({ XDG_RUNTIME_DIR: '/x' }, 0), '/run/hwentropy/entropy.sock');
});

test('a user has a daemon of their own first', (t) => {
  const runtime = fs.mkdtempSync(path.join(os.tmpdir(), 'hwe-'));
  t.after(() => fs.rmSync(runtime, { recursive: true }));
  fs.mkdirSync(path.join(runtime, 'hwentropy'));
  const own = path.join(runtime, 'hwentropy', 'entropy.sock');
  fs.writeFileSync(own, '');
  assert.equal(entropyPath({ XDG_RUNTIME_DIR: runtime }, 5), own);
});

test('a relative XDG_RUNTIME_DIR is none', () => {
  const found = entropyPath({ XDG_RUNTIME_DIR: 'relative' }, 4_000_000);
  assert.ok(
    ['/run/user/4000000/hwentropy/entropy.sock', '/run/hwentropy/entropy.sock'].includes(found),
  );
});

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
