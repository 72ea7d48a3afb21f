// Reads and writes logs with golang.org/x/mod/sumdb, which shares no code with the gateway.
//
//	foreign check DIR VERIFIER_KEY   every log below DIR is what its checkpoint signs; says so with sizes
//	foreign write DIR SIGNING_KEY N  writes a log of N records into DIR
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// tilePath is that of tlog-tiles: the library's own has the height in it.
func tilePath(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func path(tile tlog.Tile) string {
	name := tilePath(tile)
	if strings.HasPrefix(name, "tile/8/") {
		name = "tile/" + strings.TrimPrefix(name, "tile/8/")
	}
	return name
}

// tiles reads tiles from a folder.
type tiles struct{ folder string }

func (t tiles) Height() int { return height }

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range wanted {
		data, err := os.ReadFile(filepath.Join(t.folder, path(tile)))
		if err != nil {
			return nil, err
		}
		read = append(read, data)
	}
	return read, nil
}

func check(folder string, verifier note.Verifier) {
	text, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	must(err)
	opened, err := note.Open(text, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err := tlog.ParseHash(lines[2])
	must(err)
	tree := tlog.Tree{N: size, Hash: root}
	// It checks every tile that it reads against the root.
	reader := tlog.TileHashReader(tree, tiles{folder})
	for first := int64(0); first < size; first += 256 {
		width := min(256, size-first)
		bundle, err := os.ReadFile(filepath.Join(folder, path(tlog.Tile{H: height, L: -1, N: first / 256, W: int(width)})))
		must(err)
		for record := first; record < first+width; record++ {
			length := 2 + int(binary.BigEndian.Uint16(bundle))
			proof, err := tlog.ProveRecord(size, record, reader)
			must(err)
			must(tlog.CheckRecord(proof, size, root, record, tlog.RecordHash(bundle[2:length])))
			bundle = bundle[length:]
		}
		if len(bundle) > 0 {
			log.Fatalf("%s: bytes behind record %d", folder, first+width)
		}
	}
	for old := int64(1); old < size; old += 1 + size/50 {
		hash, err := tlog.TreeHash(old, reader)
		must(err)
		proof, err := tlog.ProveTree(size, old, reader)
		must(err)
		must(tlog.CheckTree(proof, size, root, old, hash))
	}
	fmt.Println(lines[0], size)
}

// hashes are stored hashes in the library's own order.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var read []tlog.Hash
	for _, index := range indexes {
		read = append(read, h[index])
	}
	return read, nil
}

func put(folder, name string, data []byte) {
	name = filepath.Join(folder, name)
	must(os.MkdirAll(filepath.Dir(name), 0o777))
	must(os.WriteFile(name, data, 0o666))
}

func write(folder string, signer note.Signer, size int64) {
	var stored hashes
	var bundle []byte
	for record := range size {
		sum := sha256.Sum256([]byte(strconv.FormatInt(record, 10)))
		data := sum[:1+record%32]
		added, err := tlog.StoredHashes(record, data, stored)
		must(err)
		stored = append(stored, added...)
		bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(data)))
		bundle = append(bundle, data...)
		if width := record%256 + 1; width == 256 || record+1 == size {
			put(folder, path(tlog.Tile{H: height, L: -1, N: record / 256, W: int(width)}), bundle)
			bundle = nil
		}
	}
	for _, tile := range tlog.NewTiles(height, 0, size) {
		data, err := tlog.ReadTileData(tile, stored)
		must(err)
		put(folder, path(tile), data)
	}
	root, err := tlog.TreeHash(size, stored)
	must(err)
	signed, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s/foreign\n%d\n%s\n", signer.Name(), size, root)}, signer)
	must(err)
	put(folder, "checkpoint", signed)
}

func main() {
	log.SetFlags(0)
	folder, key := os.Args[2], os.Args[3]
	if os.Args[1] == "write" {
		signer, err := note.NewSigner(key)
		must(err)
		size, err := strconv.ParseInt(os.Args[4], 10, 64)
		must(err)
		write(folder, signer, size)
		return
	}
	verifier, err := note.NewVerifier(key)
	must(err)
	check(filepath.Join(folder, "root"), verifier)
	logs, err := os.ReadDir(filepath.Join(folder, "logs"))
	must(err)
	for _, one := range logs {
		check(filepath.Join(folder, "logs", one.Name()), verifier)
	}
}
