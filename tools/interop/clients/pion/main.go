// Pion, as a publisher of two files and as a viewer.
//
//	pion publish URL SECONDS VIDEO.ivf AUDIO.ogg
//	pion watch   URL SECONDS
//
// Each second one line of JSON says how far it is: the frames that were sent or that came whole, and
// how many packets of the numbering never came.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/pion/webrtc/v4/pkg/media/ivfreader"
	"github.com/pion/webrtc/v4/pkg/media/oggreader"
)

// What a line says.
type progress struct {
	State   string `json:"state"`
	Frames  int    `json:"frames"`
	Audio   int    `json:"audio"`
	Missing int    `json:"missing"`
	Version string `json:"version"`
}

var (
	lock sync.Mutex
	now  = progress{State: "new", Version: version()}
)

func change(how func(*progress)) {
	lock.Lock()
	defer lock.Unlock()
	how(&now)
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/pion/webrtc/v4" {
			return module.Version
		}
	}
	return "?"
}

func main() {
	if len(os.Args) < 4 {
		fatal(errors.New("pion publish|watch URL SECONDS [VIDEO.ivf AUDIO.ogg]"))
	}
	seconds, err := strconv.Atoi(os.Args[3])
	fatal(err)
	connection, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	fatal(err)
	connected := make(chan struct{})
	var once sync.Once
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		change(func(p *progress) { p.State = state.String() })
		if state == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(connected) })
		}
	})
	if os.Args[1] == "publish" {
		publish(connection, connected, os.Args[4], os.Args[5])
	} else {
		watch(connection)
	}
	session, err := signal(connection, os.Args[2])
	fatal(err)
	for range seconds {
		time.Sleep(time.Second)
		change(func(p *progress) { fatal(json.NewEncoder(os.Stdout).Encode(p)) })
	}
	leave(session)
	_ = connection.Close()
}

// Posts the offer, and posts it again while the stream is not there yet.
func signal(connection *webrtc.PeerConnection, endpoint string) (string, error) {
	offer, err := connection.CreateOffer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(connection)
	if err := connection.SetLocalDescription(offer); err != nil {
		return "", err
	}
	<-gathered
	for attempt := 0; ; attempt++ {
		body := bytes.NewBufferString(connection.LocalDescription().SDP)
		response, err := http.Post(endpoint, "application/sdp", body)
		if err != nil {
			return "", err
		}
		answer, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			return "", err
		}
		if response.StatusCode == http.StatusCreated {
			where, err := response.Location()
			if err != nil {
				return "", err
			}
			description := webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(answer)}
			return where.String(), connection.SetRemoteDescription(description)
		}
		absent := response.StatusCode == http.StatusNotFound ||
			response.StatusCode == http.StatusConflict
		if !absent || attempt == 20 {
			return "", fmt.Errorf("%s: %s", response.Status, answer)
		}
		time.Sleep(250 * time.Millisecond)
	}
}

func leave(session string) {
	request, err := http.NewRequest(http.MethodDelete, session, nil)
	if err != nil {
		return
	}
	if response, err := http.DefaultClient.Do(request); err == nil {
		_ = response.Body.Close()
	}
}

func publish(connection *webrtc.PeerConnection, connected chan struct{}, video, audio string) {
	vp8 := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}
	videoTrack, err := webrtc.NewTrackLocalStaticSample(vp8, "video", "interop")
	fatal(err)
	opus := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}
	audioTrack, err := webrtc.NewTrackLocalStaticSample(opus, "audio", "interop")
	fatal(err)
	for _, track := range []webrtc.TrackLocal{videoTrack, audioTrack} {
		sender, err := connection.AddTrack(track)
		fatal(err)
		// What viewers ask for reaches the interceptors while somebody reads.
		go func() {
			for {
				if _, _, err := sender.ReadRTCP(); err != nil {
					return
				}
			}
		}()
	}
	go func() {
		<-connected
		go repeat(func() { sendVideo(videoTrack, video) })
		repeat(func() { sendAudio(audioTrack, audio) })
	}()
}

func repeat(once func()) {
	for {
		once()
	}
}

func sendVideo(track *webrtc.TrackLocalStaticSample, path string) {
	file, err := os.Open(path)
	fatal(err)
	defer file.Close()
	reader, header, err := ivfreader.NewWith(file)
	fatal(err)
	seconds := float64(header.TimebaseNumerator) / float64(header.TimebaseDenominator)
	every := time.Duration(seconds * float64(time.Second))
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for ; ; <-ticker.C {
		frame, _, err := reader.ParseNextFrame()
		if errors.Is(err, io.EOF) {
			return
		}
		fatal(err)
		_ = track.WriteSample(media.Sample{Data: frame, Duration: every})
		change(func(p *progress) { p.Frames++ })
	}
}

func sendAudio(track *webrtc.TrackLocalStaticSample, path string) {
	file, err := os.Open(path)
	fatal(err)
	defer file.Close()
	reader, _, err := oggreader.NewWith(file)
	fatal(err)
	const every = 20 * time.Millisecond
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for ; ; <-ticker.C {
		page, _, err := reader.ParseNextPage()
		if errors.Is(err, io.EOF) {
			return
		}
		fatal(err)
		_ = track.WriteSample(media.Sample{Data: page, Duration: every})
		change(func(p *progress) { p.Audio++ })
	}
}

func watch(connection *webrtc.PeerConnection) {
	recvonly := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		_, err := connection.AddTransceiverFromKind(kind, recvonly)
		fatal(err)
	}
	connection.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		numbers := numbering{seen: map[int64]bool{}}
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			missing := numbers.take(packet.SequenceNumber)
			change(func(p *progress) {
				if track.Kind() == webrtc.RTPCodecTypeAudio {
					p.Audio++
				} else if packet.Marker {
					p.Frames++
				}
				p.Missing += missing
			})
		}
	})
}

// Which of the last packets came; one that is 500 behind the newest will not.
type numbering struct {
	seen          map[int64]bool
	first, newest int64
	started       bool
}

func (n *numbering) take(number uint16) (missing int) {
	const late = 500
	if !n.started {
		n.started, n.first, n.newest = true, int64(number), int64(number)
	}
	extended := n.newest + int64(int16(number-uint16(n.newest)))
	n.seen[extended] = true
	for ; n.newest < extended; n.newest++ {
		old := n.newest - late
		if old >= n.first && !n.seen[old] {
			missing++
		}
		delete(n.seen, old)
	}
	return missing
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "pion:", err)
		os.Exit(1)
	}
}
