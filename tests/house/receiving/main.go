package main

import (
	"encoding/json"
	"net/http"
	"os"
	"time"

	"example.test/receiving"
)

type request struct {
	Secret  string
	Headers map[string]string
	Body    []byte
	Now     int64
}

func judged(one request) (answer any) {
	defer func() {
		if reason := recover(); reason != nil {
			answer = reason
		}
	}()
	header := http.Header{}
	for name, value := range one.Headers {
		header.Set(name, value)
	}
	return receiving.IsGenuine(one.Secret, header, one.Body, time.Unix(one.Now, 0))
}

func main() {
	var all []request
	if err := json.NewDecoder(os.Stdin).Decode(&all); err != nil {
		panic(err)
	}
	answers := []any{}
	for _, one := range all {
		answers = append(answers, judged(one))
	}
	json.NewEncoder(os.Stdout).Encode(answers)
}
