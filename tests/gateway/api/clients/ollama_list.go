// Lists models as `ollama list` does: the name and the first twelve hexadecimal digits of the digest.
// A digest that is shorter ends the program, as it ends Ollama's (cmd/cmd.go, ListHandler).
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	response, err := http.Get(os.Args[1] + "/api/tags")
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	var list struct {
		Models []struct {
			Name   string `json:"name"`
			Digest string `json:"digest"`
		} `json:"models"`
	}
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		log.Fatal(err)
	}
	for _, model := range list.Models {
		fmt.Printf("%s\t%s\n", model.Name, model.Digest[:12])
	}
}
