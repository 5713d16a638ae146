package testnet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// pdfSide makes an image of pdfSide² RGB pixels: a document of about 300 KB.
const pdfSide = 320

// makePDF draws a one-page PDF with a title and an incompressible picture of
// side² pixels, like a scanned page. The same seed gives the same bytes.
func makePDF(title string, seed uint64, side int) []byte {
	pixels := make([]byte, side*side*3)
	noise := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a picture
	for i := range pixels {
		pixels[i] = byte(noise.Uint32())
	}
	text := fmt.Sprintf("BT /F1 18 Tf 72 760 Td (%s) Tj ET q 400 0 0 400 72 320 cm /Im1 Do Q", title)
	objects := [][]byte{
		[]byte("<< /Type /Catalog /Pages 2 0 R >>"),
		[]byte("<< /Type /Pages /Kids [3 0 R] /Count 1 >>"),
		[]byte("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R " +
			"/Resources << /Font << /F1 5 0 R >> /XObject << /Im1 6 0 R >> >> >>"),
		pdfStream("<< /Length %d >>", []byte(text)),
		[]byte("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"),
		pdfStream(fmt.Sprintf("<< /Type /XObject /Subtype /Image /Width %d /Height %d "+
			"/ColorSpace /DeviceRGB /BitsPerComponent 8 /Length %%d >>", side, side), pixels),
	}
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n")
	offsets := make([]int, len(objects))
	for i, o := range objects {
		offsets[i] = b.Len()
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	xref := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, at := range offsets {
		fmt.Fprintf(&b, "%010d 00000 n \n", at)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, xref)
	return b.Bytes()
}

func pdfStream(dict string, data []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, dict, len(data))
	b.WriteString("\nstream\n")
	b.Write(data)
	b.WriteString("\nendstream")
	return b.Bytes()
}
