print("nmslite")
